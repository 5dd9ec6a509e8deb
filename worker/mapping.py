"""From the submitter's words to the pipeline's: the one place where the two vocabularies meet.

The worker and ``photomend restore`` both use it; it imports neither torch nor numpy.
"""

from __future__ import annotations

from typing import cast

from jobs.options import JobOptions
from pipeline.options import (
    DepthChoice,
    FaceChoice,
    FormatChoice,
    GrayChoice,
    MetadataPolicy,
    OutputName,
    OutputOptions,
    Precision,
    RestoreOptions,
)


def restore_options(options: JobOptions, *, most_faces: int | None = None) -> RestoreOptions:
    """How to restore; the words were checked by ``JobOptions``, so the casts cannot lie.

    ``most_faces``: the operator's own limit, whatever the submitter asks for.
    """
    limits = [limit for limit in (options.max_faces, most_faces) if limit is not None]
    return RestoreOptions(
        model=options.model,
        scale=options.scale,
        background=options.background,
        denoise=options.denoise,
        tile_px=options.tile_px,
        strength=options.strength,
        faces=cast("FaceChoice", options.faces),
        min_face_px=options.min_face_px,
        max_face_px=options.max_face_px,
        max_faces=min(limits, default=None),
        min_score=options.min_score,
        rotate=options.rotate,
        passes=options.passes,
        aligned=options.aligned,
        page=options.page,
        gray=cast("GrayChoice", options.gray),
        precision=cast("Precision", options.precision),
        seed=options.seed,
        keep_crops="faces" in options.outputs,
    )


def output_options(options: JobOptions) -> OutputOptions:
    """What to hand out. The suffix is a matter of names, so it stays with whoever names the files."""
    return OutputOptions(
        format=cast("FormatChoice", options.format),
        quality=options.quality,
        bit_depth=cast("DepthChoice", options.bit_depth),
        metadata_policy=cast("MetadataPolicy", options.metadata_policy),
        gray=cast("GrayChoice", options.gray),
        outputs=cast("tuple[OutputName, ...]", options.outputs),
    )
