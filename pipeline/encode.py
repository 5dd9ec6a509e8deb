"""From restored working pixels to a file of the source's own kind.

Four steps: ``plan`` decides what the file will be and refuses what cannot be; ``render`` carries the changes into
the planned samples; ``encode`` writes them; ``write`` does all three.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import metadata, tiff, vips
from pipeline.colour import SRGB, ColourSpace, Kind, carry
from pipeline.errors import UnsupportedOption
from pipeline.formats import CAPABILITIES, Format
from pipeline.metadata import SourceType
from pipeline.options import OutputOptions
from pipeline.resize import resize
from pipeline.source import SourceImage
from pipeline.types import FloatImage, Notice

#: Above this, a TIFF is written as BigTIFF: offsets in the classic one have 32 bits.
_BIG_TIFF_BYTES = 3_900_000_000

#: Channels of a gray source's result that differ by more than this are colour, not rounding.
_COLOUR = 1 / 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the file will be."""

    format: Format
    depth: int  #: bits a sample
    space: ColourSpace
    alpha: bool
    lossless: bool
    compression: str  #: TIFF only
    colour_allowed: bool  #: a gray source may become colour
    notices: tuple[Notice, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rendered:
    """The samples to be written."""

    plan: Plan
    samples: vips.Samples  #: (H, W, C) with alpha last, if any
    altered: NDArray[np.bool_]  #: (H, W), where a sample is not what plain resampling of the source gives


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Encoded:
    """A file, and what it is."""

    data: bytes
    format: Format
    content_type: str
    extension: str  #: without the dot
    width: int  #: px
    height: int  #: px
    bit_depth: int
    space: ColourSpace
    altered: NDArray[np.bool_]  #: (H, W), as in ``Rendered``
    notices: tuple[Notice, ...]


def write(
    source: SourceImage, image: FloatImage, *, options: OutputOptions, source_type: SourceType | None = None
) -> Encoded:
    """Write a restored picture as the same kind of picture as its source, unless the options say otherwise.

    Args:
        source: what ``read`` gave.
        image: (H', W', 3) working sRGB at the final size. Where it equals the plainly resampled
            ``source.working``, the file's samples are the plainly resampled source's, never converted; at the
            source's own size they are bit-identical.
        options: format, depth, quality, what to keep.
        source_type: how the pixels came about, for the XMP packet; None = not marked.

    Raises:
        UnsupportedOption: the wanted format cannot hold the picture.
    """
    height, width = image.shape[:2]
    rendered = render(source, image, plan(source, width=width, height=height, options=options))
    return encode(source, rendered, options=options, source_type=source_type)


def plan(source: SourceImage, *, width: int, height: int, options: OutputOptions) -> Plan:
    """Decide what the file will be; costs nothing, so it is asked before the work begins.

    Raises:
        UnsupportedOption: the wanted format cannot hold the picture.
    """
    goal = source.format if options.format == "auto" else Format(options.format)
    holds = CAPABILITIES[goal]
    if max(width, height) > holds.max_side:
        raise UnsupportedOption(f"{goal} holds at most {holds.max_side:,} px a side, the result has {width} x {height}")
    notices: list[Notice] = []
    return Plan(
        format=goal,
        depth=_depth(source, goal, options, notices),
        space=_space(source, goal, notices),
        alpha=_keeps_alpha(source, goal, notices),
        lossless=source.header.lossless and source.format is goal,
        compression=_compression(source, options),
        colour_allowed=options.gray == "allow-color",
        notices=tuple(notices),
    )


def _depth(source: SourceImage, goal: Format, options: OutputOptions, notices: list[Notice]) -> int:
    depths = CAPABILITIES[goal].depths
    if options.bit_depth != "auto":
        wanted = int(options.bit_depth)
        if wanted not in depths:
            raise UnsupportedOption(f"{goal} has no {wanted} bits a sample")
        return wanted
    if source.bit_depth not in depths:
        notices.append(Notice(code="bit_depth_reduced", detail=f"{goal} holds 8 bits a sample; the input has 16."))
    if source.header.palette or source.header.file_bits < 8:
        notices.append(
            Notice(code="written_as_8_bit", detail="The input's few levels or palette cannot hold new values: 8 bits.")
        )
    return source.bit_depth if source.bit_depth in depths else max(depths)


def _space(source: SourceImage, goal: Format, notices: list[Notice]) -> ColourSpace:
    holds = CAPABILITIES[goal]
    kind = source.space.kind
    if kind is Kind.CMYK and not holds.cmyk:
        notices.append(Notice(code="converted_to_srgb", detail=f"{goal} has no CMYK; the result is sRGB."))
        return SRGB
    return SRGB if kind is Kind.GRAY and not holds.gray else source.space


def _keeps_alpha(source: SourceImage, goal: Format, notices: list[Notice]) -> bool:
    if source.alpha is None or CAPABILITIES[goal].alpha:
        return source.alpha is not None
    if np.any(source.alpha != np.iinfo(source.alpha.dtype).max):
        raise UnsupportedOption(f"{goal} has no transparency and the input has; png, tiff and webp do")
    notices.append(Notice(code="alpha_dropped", detail=f"{goal} has no alpha channel; the input's was fully opaque."))
    return False


def _compression(source: SourceImage, options: OutputOptions) -> str:
    scheme = source.header.compression or tiff.LOSSLESS
    # JPEG inside TIFF holds 8 bits only.
    return tiff.LOSSLESS if scheme == "jpeg" and "16" in {options.bit_depth, str(source.bit_depth)} else scheme


def render(source: SourceImage, image: FloatImage, plan: Plan) -> Rendered:
    """The samples to be written; see ``write``."""
    height, width = image.shape[:2]
    before = at_size(source.working, width, height)
    after = np.clip(image, 0, 1)
    plan = _in_colour(plan, source, after)
    if plan.space == source.space:
        base = at_size(unit(source.samples), width, height)
        plain = quantised(base, plan.depth)
        carry(base, before, after, plan.space)
        samples = quantised(base, plan.depth)
    else:
        plain, samples = quantised(before, plan.depth), quantised(after, plan.depth)
    altered = np.any(plain != samples, axis=-1)
    if plan.alpha and source.alpha is not None:
        alpha = quantised(at_size(unit(source.alpha), width, height), plan.depth)
        samples = np.concatenate([samples, alpha], axis=-1)
    return Rendered(plan=plan, samples=samples, altered=altered)


def _in_colour(plan: Plan, source: SourceImage, after: FloatImage) -> Plan:
    """A gray source whose result was allowed to have colour, and has it, is written as sRGB."""
    if not source.is_gray or plan.space.kind is not Kind.GRAY or not plan.colour_allowed:
        return plan
    return replace(plan, space=SRGB) if float(np.ptp(after, axis=-1).max()) > _COLOUR else plan


def unit(samples: vips.Samples) -> NDArray[np.float32]:
    return samples.astype(np.float32) / np.float32(np.iinfo(samples.dtype).max)


def at_size(pixels: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    """Clipped, because Lanczos overshoots; always a new array."""
    return np.clip(resize(pixels, width, height), 0, 1)


def quantised(unit: NDArray[np.float32], depth: int) -> vips.Samples:
    dtype = np.uint8 if depth == 8 else np.uint16
    levels: vips.Samples = np.rint(np.clip(unit, 0, 1) * np.float32(np.iinfo(dtype).max)).astype(dtype)
    return levels


def encode(
    source: SourceImage, rendered: Rendered, *, options: OutputOptions, source_type: SourceType | None
) -> Encoded:
    """The file.

    Raises:
        UnsupportedOption: the format refuses the picture.
    """
    plan = rendered.plan
    height, width = rendered.samples.shape[:2]
    picture = vips.picture(rendered.samples, plan.space.kind.interpretation(plan.depth))
    dressed = _dressed(picture, source, plan, options, source_type)
    try:
        data = vips.save(dressed, plan.format, **_save_options(plan, rendered.samples.nbytes, options))
    except vips.VipsFailed as error:
        raise UnsupportedOption(f"a result of {width} x {height} px cannot be written as {plan.format}") from error
    holds = CAPABILITIES[plan.format]
    return Encoded(
        data=data,
        format=plan.format,
        content_type=holds.content_type,
        extension=holds.extension,
        width=width,
        height=height,
        bit_depth=plan.depth,
        space=plan.space,
        altered=rendered.altered,
        notices=plan.notices,
    )


def _dressed(
    picture: Any, source: SourceImage, plan: Plan, options: OutputOptions, source_type: SourceType | None
) -> Any:
    """The picture with its profile and metadata."""
    words = source.metadata if options.metadata_policy == "keep" else source.metadata.stripped()
    xmp = metadata.mark(words.xmp, source_type) if source_type is not None else words.xmp
    profile = plan.space.profile
    if plan.space is SRGB and source.space.profile is not None:
        profile = vips.builtin_profile("srgb")
    blobs = {"exif-data": words.exif, "xmp-data": xmp, "iptc-data": words.iptc, "icc-profile-data": profile}
    same_format = plan.format is source.format
    return vips.dressed(
        picture,
        blobs={name: blob for name, blob in blobs.items() if blob is not None},
        texts=words.texts if same_format else {},
        # The pixels are upright now, and the EXIF block must not turn them again.
        ints={"orientation": 1},
        resolution=words.scaled(picture.width / source.width, picture.height / source.height),
    )


def _save_options(plan: Plan, size: int, options: OutputOptions) -> dict[str, Any]:
    if plan.format is Format.JPEG:
        return {"Q": options.quality, "optimize_coding": True}
    if plan.format is Format.PNG:
        # Choosing a filter for each row ("all") takes twice as long and saves nothing on photos.
        return {"compression": 6, "filter": "paeth"}
    if plan.format is Format.WEBP:
        # "exact" keeps the colours under transparent pixels.
        return {"lossless": True, "exact": True} if plan.lossless else {"Q": options.quality}
    predictor = {"predictor": "horizontal"} if plan.compression in {"lzw", "deflate", "zstd"} else {}
    return {
        "compression": plan.compression,
        "Q": options.quality,
        "bigtiff": size > _BIG_TIFF_BYTES,
        **predictor,
    }
