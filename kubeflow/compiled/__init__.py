"""Compiled pipelines.

`compile` makes one from our pipeline, `file` reads and writes it, and `local_run` runs it on this machine if `trust`
finds only our own steps in it. `executor_input` is what the cluster passes to each step. `scheduled_watch` makes a
pipeline that compiles and submits others.
"""
