"""One wanted face on its way through the steps: cut out, restored or failed, masked, put back, told of."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline import align, blend, review, tone
from pipeline import crops as memory
from pipeline.composite import Paints
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
from pipeline.parse import Parsed
from pipeline.picture import Picture, resized
from pipeline.restore import Restored
from pipeline.selection import Candidate
from pipeline.types import Affine, Face, FaceCrop, FaceRecord, FaceStatus, FloatImage, Mask, Notice

#: An aligned input may be this far from square, as part of its side: scanners and editors are off by a pixel.
SQUARE_TOLERANCE = 0.02

#: Where an aligned crop shows the face itself, and seldom what lies outside of the picture. Of 213 photos of
#: ../shared/faces the least coloured is 0.049 from one tone there (see tone.TONE_TOLERANCE).
_JUDGED = np.s_[96:448, 80:432]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Portrait:
    """A wanted face; each step returns a copy that knows more."""

    index: int  #: of its record
    source_to_crop: Affine
    crop: FloatImage  #: (512, 512, 3), as cut out of the source
    toned: bool  #: only its lightness may change
    restored: FloatImage | None = None  #: (512, 512, 3); None = not yet, or failed
    fault: str | None = None  #: why the network's result was refused
    mask: Mask | None = None  #: (512, 512)
    mask_fault: str | None = None  #: why the parser's mask was refused and a feathered square took its place
    identity: float | None = None  #: similarity of what is put back to what was cut out; None = not compared
    seconds: float | None = None  #: of the device's time that restoring took

    def put_back(self, strength: float) -> FloatImage | None:
        """What the picture shows of the face in the end; None where it keeps its own pixels."""
        if self.restored is None:
            return None
        mixed: FloatImage = self.crop + (self.restored - self.crop) * np.float32(strength)
        return mixed


def whole_picture(width: int, height: int) -> Candidate:
    """The one face of a picture that is itself an aligned crop.

    Raises:
        UnsupportedOption: the picture is not square.
    """
    if abs(width - height) > SQUARE_TOLERANCE * max(width, height):
        raise UnsupportedOption(f"an aligned face is square, but the input has {width} x {height} px")
    source_to_crop = enlarge(CROP_PX / width, CROP_PX / height)
    landmarks = apply(invert(source_to_crop), FFHQ_TEMPLATE).astype(np.float32)
    face = Face(box=(0.0, 0.0, float(width - 1), float(height - 1)), landmarks=landmarks, score=1.0)
    return Candidate(face=face, source_to_crop=source_to_crop)


def cut_out(
    picture: Picture, candidates: Sequence[Candidate], options: RestoreOptions, *, toned: bool
) -> tuple[Portrait, ...]:
    """The wanted faces, aligned; none when nothing of them would show.

    A face is judged by itself too: a stain, a coloured frame or a colour target beside it does not make a sepia print a
    coloured one.
    """
    if options.strength == 0:
        return ()
    portraits = []
    for index, candidate in enumerate(candidates):
        if candidate.status is not None or candidate.source_to_crop is None:
            continue
        crop = resized(picture, CROP_PX, CROP_PX) if options.aligned else align.crop(picture, candidate.source_to_crop)
        portraits.append(
            Portrait(
                index=index,
                source_to_crop=candidate.source_to_crop,
                crop=crop,
                toned=toned or (options.gray == "keep" and tone.is_toned(np.ascontiguousarray(crop[_JUDGED]))),
            )
        )
    return tuple(portraits)


def with_results(portraits: Sequence[Portrait], results: Sequence[Restored]) -> tuple[Portrait, ...]:
    """The portraits with what the network made of them; of a toned one, its lightness only."""
    return tuple(
        dataclasses.replace(portrait, fault=result.fault, restored=_kept_tone(portrait, result), seconds=result.seconds)
        for portrait, result in zip(portraits, results, strict=True)
    )


def _kept_tone(portrait: Portrait, result: Restored) -> FloatImage | None:
    if result.image is None or not portrait.toned:
        return result.image
    return np.clip(tone.in_lightness_only(portrait.crop, result.image), 0, 1, out=memory.empty())


def to_compare(portraits: Sequence[Portrait], options: RestoreOptions) -> dict[int, tuple[FloatImage, FloatImage]]:
    """Each restored face before and after, by its index."""
    ends = {portrait.index: (portrait.crop, portrait.put_back(options.strength)) for portrait in portraits}
    return {index: (before, after) for index, (before, after) in ends.items() if after is not None}


def with_identities(portraits: Sequence[Portrait], identities: Mapping[int, float | None]) -> tuple[Portrait, ...]:
    """The portraits with how alike they still look to their originals."""
    return tuple(dataclasses.replace(p, identity=identities.get(p.index)) for p in portraits)


def with_masks(portraits: Sequence[Portrait], masks: Sequence[Parsed]) -> tuple[Portrait, ...]:
    """The portraits with their masks; a feathered square for those without one."""
    return tuple(
        dataclasses.replace(p, mask=blend.feathered_square() if one.mask is None else one.mask, mask_fault=one.fault)
        for p, one in zip(portraits, masks, strict=True)
    )


def mask_warnings(portraits: Sequence[Portrait]) -> tuple[Notice, ...]:
    """Of which restored faces the parser's mask was refused."""
    return tuple(
        Notice(code="mask_replaced", detail=f"face {p.index} is blended in by a feathered square: {p.mask_fault}")
        for p in portraits
        if p.mask_fault and p.restored is not None
    )


def placed(
    portraits: Sequence[Portrait],
    options: RestoreOptions,
    *,
    source_size: tuple[int, int],
    size: tuple[int, int],
) -> tuple[Paints, ...]:
    """The restored faces at their places in the final picture of ``size`` (width, height) px."""
    to_output = source_to_output(source_size, size)
    faces: list[Paints] = []
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
            lightness_only=portrait.toned,
        )
        if options.aligned:
            faces.append(blend.Replacement(patch, *size))
        else:
            gap = blend.colour_gap(portrait.crop, portrait.restored, portrait.mask, limit=_colour_limit(options))
            faces.append(blend.Paste(dataclasses.replace(patch, gap=gap), *size))
    return tuple(faces)


def _colour_limit(options: RestoreOptions) -> float:
    # Who lets networks colour a face wants the colour, and not only where it is strong.
    return 0.0 if options.gray == "allow-color" else blend.COLOUR_LIMIT


def records(
    candidates: Sequence[Candidate], portraits: Sequence[Portrait], options: RestoreOptions
) -> tuple[FaceRecord, ...]:
    """What became of every candidate."""
    known = {portrait.index: portrait for portrait in portraits}
    return tuple(_record(index, candidate, known.get(index), options) for index, candidate in enumerate(candidates))


def _record(index: int, candidate: Candidate, portrait: Portrait | None, options: RestoreOptions) -> FaceRecord:
    if portrait is None:
        if candidate.status is None and options.strength == 0:
            return candidate.record(index, status=FaceStatus.SKIPPED, reason="strength is 0")
        return candidate.record(index)
    if portrait.fault:
        failed = candidate.record(index, status=FaceStatus.FAILED, reason=portrait.fault)
        return dataclasses.replace(failed, seconds=portrait.seconds)
    record = candidate.record(index)
    flags = review.of_result(identity=portrait.identity, colour_drift=_colour_drift(portrait, options))
    return dataclasses.replace(
        record, identity=portrait.identity, review=record.review + flags, seconds=portrait.seconds
    )


def _colour_drift(portrait: Portrait, options: RestoreOptions) -> float:
    """How far the face's colour moved in the picture, where it is matched along the seam."""
    after = portrait.put_back(options.strength)
    # A toned face gets the restored one's lightness only.
    if after is None or portrait.mask is None or portrait.toned:
        return 0.0
    if not options.aligned:
        after = blend.match_colour(portrait.crop, after, portrait.mask, limit=_colour_limit(options))
    return review.colour_drift(portrait.crop, after, portrait.mask)


def warnings(faces: Sequence[FaceRecord]) -> tuple[Notice, ...]:
    """What the caller should know of these faces."""
    failed = tuple(
        Notice(code="face_failed", detail=f"face {face.id} keeps its original pixels: {face.reason}")
        for face in faces
        if face.status is FaceStatus.FAILED
    )
    if all(face.status is FaceStatus.REJECTED for face in faces):
        return (*failed, Notice(code="no_faces", detail="no face was found; only the background was processed"))
    return failed


def crops(portraits: Sequence[Portrait]) -> tuple[FaceCrop, ...]:
    """Before and after of the faces that were restored."""
    return tuple(FaceCrop(index=p.index, before=p.crop, after=p.restored) for p in portraits if p.restored is not None)
