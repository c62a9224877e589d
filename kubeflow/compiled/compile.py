"""The pipeline as one file that a cluster runs: PipelineJob JSON for Vertex, schema 2.1 YAML for Kubeflow.

TFX's compiler builds the graph from the same `create_pipeline` that runs here; `postprocess` adds what it leaves out.
`pipeline.run.prepare` has already resolved span window, fingerprints, baseline and warm start from our store. They are
in the file as parameters and importers, and the cluster resolves nothing.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner

from kubeflow.cluster_file import ClusterConfig
from kubeflow.compiled.file import compiled_text, with_argo_names
from kubeflow.compiled.postprocess import complete, platform_spec
from pipeline.pipeline import create_pipeline
from pipeline.resolve import ResolvedRun

COMMAND = ("python", "-m", "kubeflow.entrypoint")


def compile_pipeline(run: ResolvedRun, cluster: ClusterConfig, revision: str) -> str:
    """The compiled file's text; the same input gives the same bytes.

    Args:
        run: the resolved settings and data.
        cluster: images, storage and resources.
        revision: git revision of the code in the images, for the labels.

    Raises:
        ValueError: a resolver is left in the graph.
    """
    pipeline = create_pipeline(dataclasses.replace(run, workspace=Path(cluster.workspace)))
    runner = kubeflow_v2_dag_runner.KubeflowV2DagRunner(
        config=kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
            default_image=cluster.image, default_commands=list(COMMAND), use_pipeline_spec_2_1=True
        ),
        output_filename="unused",
    )
    job = runner.run(pipeline, write_out=False)
    job = complete(job, cluster, {"revision": revision, "run_key": run.run_key[:32]})
    if cluster.target == "vertex":
        return compiled_text([job])
    platform = platform_spec(job, cluster)
    return compiled_text([with_argo_names(job["pipelineSpec"]), *([platform] if platform else [])])
