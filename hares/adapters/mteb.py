"""`mteb:NAME`: an audio model of the mteb package (MAEB), by its name in mteb's register, such as `mteb:MIT/ast-...`.

mteb loads it as it does for its own tasks, which fetches weights that are not there yet, and code that some models
bring: score only what you trust. It gets crops of 16 kHz and resamples them itself. The embedding is the one that
mteb's wrapper of the model gives for a clip; layers are `transformers:`'s.

A model of your own is known to mteb once its `ModelMeta` is in `mteb.models.model_implementations.MODEL_REGISTRY`.

Shapes: `b` batch, `n` samples, `d` embedding.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hares.adapters import EncoderOptions, FrozenEncoder, chosen_rate
from hares.adapters._state import state_of
from hares.code_digest import code_digest
from hares.digests import combined_digest, library_versions
from hares.task import SAMPLE_RATE


def load(location: str, options: EncoderOptions) -> FrozenEncoder:
    """The encoder of a name in mteb's register. Raises ValueError where there is none, or none of audio."""
    import mteb
    from datasets import Dataset
    from mteb.abstasks.task_metadata import TaskMetadata
    from torch.utils.data import DataLoader

    spec = f"mteb:{location}"
    if options.output is not None:
        raise ValueError(f"encoder {spec!r}: mteb's models have one embedding. Leave --output-name out")
    try:
        meta = mteb.get_model_meta(location, fetch_from_hf=False)
    except KeyError as error:
        raise ValueError(f"encoder {spec!r}: {error.args[0]}; give a name of mteb's register") from error
    if "audio" not in meta.modalities:
        raise ValueError(f"encoder {spec!r}: a model of {', '.join(meta.modalities)}, not of audio")
    model: Any = meta.load_model()
    asked = TaskMetadata(
        name="HARES", description="Crops of HARES.", dataset={"path": "hares/crops", "revision": "1"},
        type="AudioClassification", category="a2c", modalities=["audio"], eval_langs=["zxx-Zxxx"],
        main_score="accuracy",
    )  # fmt: skip

    def embed(waveforms: np.ndarray) -> Any:
        audio = [{"array": waveform, "sampling_rate": SAMPLE_RATE} for waveform in waveforms]
        rows = Dataset.from_dict({"audio": audio}).with_format("numpy")  # what mteb's tasks hand over
        return model.encode(
            DataLoader(rows, batch_size=len(rows), collate_fn=_columns), task_metadata=asked, hf_split="test",
            hf_subset="default", show_progress_bar=False,
        )  # fmt: skip

    state = state_of(model)
    return FrozenEncoder(
        spec=spec,
        name=location,
        sample_rate=chosen_rate(spec, SAMPLE_RATE, options),
        embedding_size=None,
        digest=combined_digest(
            kind="mteb", code=code_digest(__name__), name=location, revision=str(meta.revision), state=state.digest,
            versions=library_versions("mteb", "transformers", "torchaudio"),
        ),
        embed=embed,
        details={
            "weight_arrays": state.arrays,
            "revision": str(meta.revision),
            "device": getattr(state.torch_device, "type", "cpu"),
        },
    )  # fmt: skip


def _columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {"audio": [row["audio"] for row in rows]}
