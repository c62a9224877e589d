// Command argo_4_0 validates a workflow as Kubeflow Pipelines 2.17.0 does before it creates a run, or as the Kubernetes
// API does when it and its pods are created.
//
// Kubeflow's API server calls executionSpec.Validate(ctx, false, false), which is Argo's ValidateWorkflow with these
// options (kubeflow/pipelines, backend/src/apiserver/resource/resource_manager.go, backend/src/common/util/workflow.go).
//
//	argo_4_0 argo FILE          a Workflow in JSON; prints why it is refused, and exits with 1
//	argo_4_0 kubernetes FILE    the same; labels of pods must be spelled out in the templates
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	argo "github.com/argoproj/argo-workflows/v4/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v4/util/logging"
	"github.com/argoproj/argo-workflows/v4/workflow/validate"
	"k8s.io/apimachinery/pkg/api/validation"
	labels "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func main() {
	if err := validated(os.Args[1], os.Args[2]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func validated(by, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var workflow argo.Workflow
	if err := json.Unmarshal(text, &workflow); err != nil {
		return err
	}
	if by == "kubernetes" {
		return kubernetes(&workflow)
	}
	silent := logging.NewSlogLoggerCustom(logging.Error, logging.JSON, io.Discard)
	ctx := logging.WithLogger(context.Background(), silent)
	return validate.ValidateWorkflow(ctx, nil, nil, &workflow, nil, validate.ValidateOpts{})
}

// kubernetes checks the workflow's own metadata, and what its templates give to pods. The API server makes the name first
// (k8s.io/apiserver, pkg/storage/names/generate.go): what generateName says, cut off at 58 characters, and 5 more.
func kubernetes(workflow *argo.Workflow) error {
	beginning := workflow.GenerateName
	workflow.Name = beginning[:min(len(beginning), 58)] + "abcde"
	faults := validation.ValidateObjectMeta(
		&workflow.ObjectMeta, true, validation.NameIsDNSSubdomain, field.NewPath("metadata"),
	)
	for _, template := range workflow.Spec.Templates {
		at := field.NewPath(template.Name)
		faults = append(faults, labels.ValidateLabels(template.Metadata.Labels, at.Child("labels"))...)
		faults = append(faults, labels.ValidateLabels(template.NodeSelector, at.Child("nodeSelector"))...)
		for _, volume := range template.Volumes {
			if volume.PersistentVolumeClaim == nil {
				continue
			}
			for _, why := range validation.NameIsDNSLabel(volume.Name, false) {
				faults = append(faults, field.Invalid(at.Child("volumes"), volume.Name, why))
			}
		}
	}
	return faults.ToAggregate()
}
