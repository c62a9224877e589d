"""HARES among other benchmarks: any encoder of ours in theirs, and our tasks as theirs.

| other benchmark | its models in HARES | encoders of any SPEC in it | our twelve tasks in it |
|---|---|---|---|
| mteb (MAEB) | `--encoder mteb:NAME` | `hares.exchange.mteb.model_of(SPEC)` | `hares.exchange.mteb.tasks_of(CORPUS)` |
| X-ARES | `torch:MODULE:FACTORY` | `hares.exchange.xares.encoder_of(SPEC)` | |
| HEAR 2021 | `--encoder hear:MODULE` | `models.hear`, of an exported model | |

Each file imports the package of the other side, which is no dependency.
"""
