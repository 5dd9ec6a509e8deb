"""One wanted face on its way through the steps: cut out, restored or failed, masked, put back, told of."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline import align, blend, tone
from pipeline.errors import UnsupportedOption
from pipeline.geometry import (
    CROP_PX,
    FFHQ_TEMPLATE,
    apply,
    compose,
    enlarge,
    invert,
    scale_of,
    source_to_output,
)
from pipeline.options import RestoreOptions
from pipeline.resize import resize
from pipeline.restore import Restored
from pipeline.selection import Candidate
from pipeline.types import Affine, Face, FaceCrop, FaceRecord, FaceStatus, FloatImage, Mask, Notice

#: An aligned input may be this far from square, as part of its side: scanners and editors are off by a pixel.
SQUARE_TOLERANCE = 0.02


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Portrait:
    """A wanted face; each step returns a copy that knows more."""

    index: int  #: of its record
    source_to_crop: Affine
    crop: FloatImage  #: (512, 512, 3), as cut out of the source
    restored: FloatImage | None = None  #: (512, 512, 3); None = not yet, or failed
    fault: str | None = None  #: why the network's result was refused
    mask: Mask | None = None  #: (512, 512)


def whole_picture(image: FloatImage) -> Candidate:
    """The one face of a picture that is itself an aligned crop.

    Raises:
        UnsupportedOption: the picture is not square.
    """
    height, width = image.shape[:2]
    if abs(width - height) > SQUARE_TOLERANCE * max(width, height):
        raise UnsupportedOption(f"an aligned face is square, but the input has {width} x {height} px")
    source_to_crop = enlarge(CROP_PX / width, CROP_PX / height)
    landmarks = apply(invert(source_to_crop), FFHQ_TEMPLATE).astype(np.float32)
    face = Face(box=(0.0, 0.0, float(width - 1), float(height - 1)), landmarks=landmarks, score=1.0)
    return Candidate(face=face, source_to_crop=source_to_crop)


def cut_out(image: FloatImage, candidates: Sequence[Candidate], options: RestoreOptions) -> tuple[Portrait, ...]:
    """The wanted faces, aligned; none when nothing of them would show."""
    if options.strength == 0:
        return ()
    return tuple(
        Portrait(
            index=index,
            source_to_crop=candidate.source_to_crop,
            crop=_whole_crop(image) if options.aligned else align.crop(image, candidate.source_to_crop),
        )
        for index, candidate in enumerate(candidates)
        if candidate.status is None and candidate.source_to_crop is not None
    )


def _whole_crop(image: FloatImage) -> FloatImage:
    crop: FloatImage = np.clip(resize(image, CROP_PX, CROP_PX), 0, 1)
    return crop


def with_results(portraits: Sequence[Portrait], results: Sequence[Restored], *, toned: bool) -> tuple[Portrait, ...]:
    """The portraits with what the network made of them; of a toned picture, its lightness only."""
    return tuple(
        dataclasses.replace(portrait, fault=result.fault, restored=_kept_tone(portrait, result, toned=toned))
        for portrait, result in zip(portraits, results, strict=True)
    )


def _kept_tone(portrait: Portrait, result: Restored, *, toned: bool) -> FloatImage | None:
    if result.image is None or not toned:
        return result.image
    restored: FloatImage = np.clip(tone.in_lightness_only(portrait.crop, result.image), 0, 1)
    return restored


def with_masks(portraits: Sequence[Portrait], masks: Sequence[Mask]) -> tuple[Portrait, ...]:
    """The portraits with their masks."""
    return tuple(dataclasses.replace(p, mask=mask) for p, mask in zip(portraits, masks, strict=True))


def blend_into(
    canvas: FloatImage,
    portraits: Sequence[Portrait],
    options: RestoreOptions,
    *,
    source_size: tuple[int, int],
    toned: bool,
) -> Mask:
    """Put the restored faces onto ``canvas``, which is written to; where they now are, and how much."""
    changed = np.zeros(canvas.shape[:2], np.float32)
    to_output = source_to_output(source_size, (canvas.shape[1], canvas.shape[0]))
    for portrait in portraits:
        if portrait.restored is None or portrait.mask is None:
            continue
        crop_to_source = invert(portrait.source_to_crop)
        patch = blend.Patch(
            before=portrait.crop,
            after=portrait.restored,
            mask=portrait.mask,
            crop_to_output=compose(crop_to_source, to_output),
            source_px_per_crop_px=scale_of(crop_to_source),
            strength=options.strength,
            lightness_only=toned,
        )
        if options.aligned:
            blend.replace_whole(canvas, changed, patch)
        else:
            after = blend.match_colour(portrait.crop, portrait.restored, portrait.mask)
            blend.paste_into(canvas, changed, dataclasses.replace(patch, after=after))
    return changed


def records(
    candidates: Sequence[Candidate], portraits: Sequence[Portrait], options: RestoreOptions
) -> tuple[FaceRecord, ...]:
    """What became of every candidate."""
    faults = {portrait.index: portrait.fault for portrait in portraits if portrait.fault}
    return tuple(_record(index, candidate, faults.get(index), options) for index, candidate in enumerate(candidates))


def _record(index: int, candidate: Candidate, fault: str | None, options: RestoreOptions) -> FaceRecord:
    if fault:
        return candidate.record(index, status=FaceStatus.FAILED, reason=fault)
    if candidate.status is None and options.strength == 0:
        return candidate.record(index, status=FaceStatus.SKIPPED, reason="strength is 0")
    return candidate.record(index)


def warnings(faces: Sequence[FaceRecord]) -> tuple[Notice, ...]:
    """What the caller should know of these faces."""
    failed = tuple(
        Notice(code="face_failed", detail=f"face {face.index} keeps its original pixels: {face.reason}")
        for face in faces
        if face.status is FaceStatus.FAILED
    )
    if all(face.status is FaceStatus.REJECTED for face in faces):
        return (*failed, Notice(code="no_faces", detail="no face was found; only the background was processed"))
    return failed


def crops(portraits: Sequence[Portrait]) -> tuple[FaceCrop, ...]:
    """Before and after of the faces that were restored."""
    return tuple(FaceCrop(index=p.index, before=p.crop, after=p.restored) for p in portraits if p.restored is not None)
