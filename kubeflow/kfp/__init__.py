"""The pipeline on Kubeflow Pipelines.

`hares compile --target kubeflow` writes the file (`kubeflow.compiled`). `service` submits and schedules it through
`api`, and every step runs `kubeflow.entrypoint`; `volume_import` stands for Kubeflow's own importer where a model lies
on a volume.
"""
