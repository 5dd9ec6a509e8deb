"""One percentage for the whole job from the pipeline's stages."""

from __future__ import annotations

from pipeline.types import Stage

FETCH = "fetch"
STORE = "store"

#: Where each stage begins and ends, in percent of the job. Restoration and upsampling cost most, by
#: measurement of the whole pipeline on a CPU; the numbers only shape the bar.
SPANS: dict[str, tuple[int, int]] = {
    FETCH: (0, 4),
    Stage.DECODE: (4, 8),
    Stage.DETECT: (8, 20),
    Stage.ALIGN: (20, 22),
    Stage.RESTORE: (22, 55),
    Stage.PARSE: (55, 63),
    Stage.IDENTIFY: (63, 65),
    Stage.UPSAMPLE: (65, 85),
    Stage.BLEND: (85, 90),
    Stage.ENCODE: (90, 96),
    STORE: (96, 99),
}


def percent_of(stage: str, fraction: float) -> int:
    """How far the whole job is when ``stage`` is ``fraction`` (0 to 1) done; 0 to 99, since only a commit is 100."""
    begin, end = SPANS[stage]
    return begin + int((end - begin) * min(max(fraction, 0.0), 1.0))
