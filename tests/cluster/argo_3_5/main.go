// Command argo_3_5 validates a workflow as Kubeflow Pipelines 2.5.0 does before it creates a run.
//
// Its API server calls executionSpec.Validate(false, false), which is Argo's ValidateWorkflow with these options
// (kubeflow/pipelines, backend/src/apiserver/resource/resource_manager.go, backend/src/common/util/workflow.go).
//
//	argo_3_5 FILE    a Workflow in JSON; prints why it is refused, and exits with 1
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	argo "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/workflow/validate"
	"github.com/sirupsen/logrus"
)

func main() {
	logrus.SetOutput(io.Discard)
	if err := validated(os.Args[1]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func validated(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var workflow argo.Workflow
	if err := json.Unmarshal(text, &workflow); err != nil {
		return err
	}
	return validate.ValidateWorkflow(nil, nil, &workflow, validate.ValidateOpts{})
}
