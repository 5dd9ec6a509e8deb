"""What a batch is pinned to when it begins: the networks that the pipeline would choose on the fleet as it is now."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.backlog import Slots
from jobs.batches.manifest import ManifestInvalid
from jobs.batches.model import BatchSpec, Pins

#: Restorers that an unnamed model may be, best first; and what ``auto`` is as a background, if every worker has a GPU.
RESTORERS = ("gfpgan-1.4", "preview")
AUTO_BACKGROUND = "realesrgan-x2plus"
#: Networks that take part whatever is asked for, best first; a test compares them with the pipeline's.
ALWAYS = (
    ("retinaface-resnet50", "retinaface-mobilenet0.25", "preview-detector"),
    ("parsenet", "bisenet"),
    ("arcface",),
)


def pins_of(slots: Sequence[Slots], spec: BatchSpec) -> Pins:
    """What the fleet has now, for the whole batch.

    Raises:
        ManifestInvalid: a model that is asked for is on no worker, or workers have different files of one name.
    """
    weights: dict[str, str] = {}
    for told in (told for worker in slots for told in worker.models):
        name, sha256 = str(told["name"]), str(told.get("sha256") or "")
        if weights.setdefault(name, sha256) != sha256:
            raise ManifestInvalid(f"workers have different files of {name}; give all of them the same one")
    model = spec.options.model or next((name for name in RESTORERS if name in weights), None)
    if model is None or model not in weights:
        raise ManifestInvalid(f"no worker has {model or RESTORERS[0]}; see `photomend models`")
    background = spec.options.background
    if background == "auto":
        with_gpu = all(" on cpu" not in worker.engine for worker in slots)
        background = AUTO_BACKGROUND if with_gpu and AUTO_BACKGROUND in weights else "none"
    if background != "none" and background not in weights:
        raise ManifestInvalid(f"no worker has {background}; see `photomend models`")
    return Pins(
        model=model,
        background=background,
        precision=spec.options.precision,
        weights=dict(sorted(weights.items())),
        always=tuple(found for names in ALWAYS if (found := next((n for n in names if n in weights), None))),
        engines=tuple(sorted({worker.engine for worker in slots})),
    )
