"""The pipeline on Vertex AI.

`hares compile --target vertex` writes the file (`kubeflow.compiled`). `service` submits and schedules it through `api`,
and every step runs `kubeflow.entrypoint`. On larger machines a step starts a `custom_job`, whose further workers run
`replica`; the pusher's step enters what it pushed into the `model_registry`. `settings` are the cluster file's groups
for these two.
"""
