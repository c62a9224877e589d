"""What the steps of an imported run tell of its settings and code.

| recorded of the run | read from |
|---|---|
| settings `training`, `frontend`, `plugins` | `custom_config` of the trainer |
| settings `protocol`, `blessing` | the evaluator's parameters of these names |
| settings `tasks` | the embedders' parameter `task` |
| `run_key` | the evaluator's parameter |
| `code` | the parameter `code_digest` of every step, that of trainer and transform in `custom_config` |

No step carries the rest of a config, as where the data lay, nor who started the run, the lock file, and whether the
code's tree was clean: those are "unknown".
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from pipeline.lineage.importing.foreign import ForeignExecution, Value
from pipeline.lineage.record import UNKNOWN

NOT_TOLD = (
    "git_revision",
    "git_clean",
    "lock_digest",
    "preset",
    "user",
)  # unless whoever reads the run knows it
_TRAINER, _EVALUATOR, _EMBEDDER = "trainer", "evaluator", "embed_"
_OF_TRAINER = ("training", "frontend", "plugins")
_OF_EVALUATOR = ("protocol", "blessing")


def told_by_steps(executions: Iterable[ForeignExecution]) -> tuple[dict[str, Value], dict[str, Any]]:
    """Facts of a run, named as `pipeline.lineage.record` names them, and its settings as far as they are told."""
    facts: dict[str, Value] = dict.fromkeys(NOT_TOLD, UNKNOWN)
    config: dict[str, Any] = {}
    code: dict[str, str] = {}
    tasks = []
    for step in executions:
        custom = _object(step.properties.get("custom_config"))
        digest = step.properties.get("code_digest", custom.get("code_digest"))
        if isinstance(digest, str):
            code[step.node] = digest
        if step.node == _TRAINER:
            config.update((name, custom[name]) for name in _OF_TRAINER if name in custom)
        elif step.node == _EVALUATOR:
            parts = {name: _object(step.properties.get(name)) for name in _OF_EVALUATOR}
            config.update((name, part) for name, part in parts.items() if part)
            if isinstance(key := step.properties.get("run_key"), str):
                facts["run_key"] = key
        elif step.node.startswith(_EMBEDDER) and isinstance(task := step.properties.get("task"), str):
            tasks.append(task)
    if tasks:
        config["tasks"] = sorted(set(tasks))
    if code:
        facts["code"] = json.dumps(code, sort_keys=True)
    return facts, config


def _object(text: Any) -> dict[str, Any]:
    """A JSON object written as text; {} for anything else."""
    try:
        found = json.loads(text) if isinstance(text, str) else {}
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
