"""Names that the components and the lineage share: the properties of a report, and the Evaluator's inputs.

| property of a report | what it holds |
|---|---|
| `hares`, `domain/DOMAIN`, `TASK/score` | a score |
| `hares/low`, `domain/DOMAIN/low`, `TASK/low`, and the same with `high` | its interval |
| `TASK/chance`, `TASK/untrained`, `TASK/seed_deviation`, `TASK/macro_recall` | numbers beside a task's score |
| `TASK/clips`, `TASK/expected_clips`, `TASK/manifest_COUNT` | counts |
| `TASK/leakage` | the verdict in one word |
"""

from __future__ import annotations

from hares.task import DOMAINS

HARES = "hares"
BOUNDS = ("low", "high")
INPUTS_OF_TASK = ("embeddings", "manifest", "examples")
MANIFEST_COUNTS = ("expected", "present", "missing", "unreadable")
CURRENT_MODEL, CURRENT_MODEL_ID = (
    "current_model",
    "current_model_id",
)  # of a blessing: the model's folder and id
PUSHED, PUSHED_DESTINATION = "pushed", "pushed_destination"  # of a PushedModel, set by TFX's Pusher
_DOMAIN = "domain/"
_SCORE = "/score"
_WHOLE = frozenset(
    {
        "blessed", "embedding_size", "listed", "parameters", "rejected", "replicas", "seed", "span", "steps",
        "unsettled", "used", "version", CURRENT_MODEL_ID, PUSHED,
    }
)  # fmt: skip
_WHOLE_OF_TASK = frozenset({"clips", "expected_clips", *(f"manifest_{count}" for count in MANIFEST_COUNTS)})


def score_key(name: str) -> str:
    """The property that holds a score: of "hares", a domain or a task."""
    prefix = _prefix(name)
    return prefix if name == HARES or name in DOMAINS else prefix + _SCORE


def bound_keys(name: str) -> tuple[str, str]:
    """The properties that hold the lower and upper bound of a score's interval."""
    low, high = (f"{_prefix(name)}/{side}" for side in BOUNDS)
    return low, high


def task_key(task: str, what: str) -> str:
    """The property that holds something else about a task, as in "esc50/clips"."""
    return f"{task}/{what}"


def parse_key(key: str) -> str | None:
    """The score that a property holds; None for a property that holds no score."""
    if key == HARES:
        return HARES
    if key.endswith(_SCORE):
        return key.removesuffix(_SCORE)
    domain = key.removeprefix(_DOMAIN)
    return domain if domain != key and "/" not in domain else None


def input_key(what: str, task: str) -> str:
    """The Evaluator's input with one of `INPUTS_OF_TASK` of a task."""
    return f"{what}_{task}"


def task_of_input(key: str) -> str | None:
    """The task that an input of the Evaluator belongs to; None for the model."""
    what, _, task = key.partition("_")
    return task if what in INPUTS_OF_TASK and task else None


def is_whole_number(name: str) -> bool:
    """Whether the components record a property as an integer; scores are always fractions."""
    return name in _WHOLE or name.rpartition("/")[2] in _WHOLE_OF_TASK


def _prefix(name: str) -> str:
    return _DOMAIN + name if name in DOMAINS else name
