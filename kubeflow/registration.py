"""How a cluster file asks for pushed models to become versions in Vertex AI's Model Registry.

model_registry: {model_id: hares-sf-nfnet-f0, aliases: [blessed]}
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MODEL_ID = re.compile(r"[a-z]([a-z0-9_-]{0,61}[a-z0-9])?")
MODEL_ID_RULE = "up to 63 of a-z, 0-9, _ and -, with a letter in front and a letter or digit at the end"
ALIAS = re.compile(r"[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]")
# TensorFlow's own prediction container; the version is that of the TensorFlow that exported the model.
SERVING_IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"


@dataclass(frozen=True)
class Registration:
    """Settings of the group `model_registry`.

    Attributes:
        model_id: names the model whose versions these are, as in "hares-sf-nfnet-f0".
        aliases: names that the newest version takes over.
        serving_image: container that serves it.
    """

    model_id: str = ""
    aliases: tuple[str, ...] = ("blessed",)
    serving_image: str = SERVING_IMAGE

    def __post_init__(self) -> None:
        if not MODEL_ID.fullmatch(self.model_id):
            raise ValueError(f"model_id: got {self.model_id!r}; accepted are {MODEL_ID_RULE}")
        check_aliases(self.aliases)


def check_aliases(aliases: tuple[str, ...]) -> None:
    """Raises ValueError where the registry would refuse one."""
    for alias in aliases:
        if not ALIAS.fullmatch(alias):
            raise ValueError(
                f"aliases: got {alias!r}; accepted are 2 to 128 of letters, digits and -, starting with a-z"
            )
