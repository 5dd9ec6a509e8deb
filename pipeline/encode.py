"""From restored working pixels to a file of the source's own kind.

Three steps: ``plan`` decides what the file will be and refuses what cannot be; ``render.render`` carries the changes
into the planned samples; ``encode`` writes them. ``write`` does all three.

How hard the codecs try, on a photo restored at twice its size (2594 x 3840 px, RGB; seconds of one core of a Zen 4,
by ``tests/bench/test_bench_codecs.py``; those that are used are marked):

==========================  ===================  ===================
PNG, filter paeth           8 bits               16 bits
==========================  ===================  ===================
level 1                     0.41 s, 20.3 MB      1.10 s, 62.4 MB
level 3                     0.52 s, 12.9 MB      1.60 s, 47.4 MB
level 4 (used)              0.72 s, 12.7 MB      1.63 s, 47.4 MB
level 6                     1.39 s, 12.5 MB      1.63 s, 47.4 MB
level 9                     8.65 s, 11.8 MB      3.40 s, 47.4 MB
level 6, no filter          0.54 s, 22.4 MB      1.25 s, 57.1 MB
level 6, filter by row      1.50 s, 12.5 MB      1.94 s, 47.6 MB
==========================  ===================  ===================

====================================  ===================
JPEG, quality 95                      8 bits
====================================  ===================
usual Huffman tables (used)           0.07 s, 3.31 MB
tables of its own                     0.25 s, 3.24 MB
progressive                           0.51 s, 3.16 MB
====================================  ===================

===========================  ===================  ===================
TIFF, horizontal predictor   8 bits               16 bits
===========================  ===================  ===================
none, no predictor           0.03 s, 29.9 MB      0.10 s, 59.8 MB
lzw                          0.41 s, 15.1 MB      1.13 s, 62.7 MB
deflate, level 3 (used)      0.38 s, 14.4 MB      1.14 s, 48.8 MB
deflate, level 4             0.58 s, 14.2 MB      1.13 s, 48.8 MB
deflate, level 6             0.75 s, 14.1 MB      1.17 s, 48.8 MB
deflate, level 6, none       0.53 s, 22.4 MB      1.21 s, 57.0 MB
===========================  ===================  ===================

Tables of its own save 2 % of a JPEG file, and libjpeg keeps all coefficients in memory for them (11 bytes a pixel). A
TIFF file keeps its input's scheme, so that whoever reads the one reads the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline import metadata, scratch, tiff, vips
from pipeline.colour import SRGB, ColourSpace, Kind
from pipeline.composite import Composite
from pipeline.errors import UnsupportedOption
from pipeline.formats import CAPABILITIES, Format, written_as
from pipeline.metadata import Metadata
from pipeline.options import OutputOptions
from pipeline.render import Rendered, has_colour, render
from pipeline.source import SourceImage
from pipeline.types import Canvas, FloatImage, Notice
from pipeline.xmp import Deed, SourceType

#: Above this, a TIFF is written as BigTIFF: offsets in the classic one have 32 bits.
_BIG_TIFF_BYTES = 3_900_000_000

#: Of Deflate: half the time of zlib's usual level 6 for 1 % more bytes in PNG, 2 % in TIFF.
_PNG_LEVEL, _TIFF_LEVEL = 4, 3


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
class Encoded:
    """A file, and what it is."""

    data: scratch.Data
    format: Format
    content_type: str
    extension: str  #: without the dot
    width: int  #: px
    height: int  #: px
    bit_depth: int
    space: ColourSpace
    changed_px: int  #: pixels that are not what plain resampling of the source gives
    notices: tuple[Notice, ...]


def write(
    source: SourceImage, image: FloatImage, *, options: OutputOptions, source_type: SourceType | None = None
) -> Encoded:
    """Write a restored picture as the same kind of picture as its source, unless the options say otherwise.

    Args:
        source: what ``read`` gave.
        image: (H', W', 3) working sRGB at the final size. Where it equals the plainly resampled
            ``source.picture``, the file's samples are the plainly resampled source's, never converted; at the
            source's own size they are bit-identical.
        options: format, depth, quality, what to keep.
        source_type: how the pixels came about, for the XMP packet; None = not marked.

    Raises:
        UnsupportedOption: the wanted format cannot hold the picture.
    """
    height, width = image.shape[:2]
    canvas = Composite(source.picture, (width, height), background=lambda rows, _: image[rows])
    wanted = in_colour(plan(source, width=width, height=height, options=options), source, canvas)
    rendered = render(source, canvas, space=wanted.space, depth=wanted.depth, alpha=wanted.alpha)
    return encode(source, rendered, wanted, options=options, source_type=source_type)


def plan(source: SourceImage, *, width: int, height: int, options: OutputOptions) -> Plan:
    """Decide what the file will be; costs nothing, so it is asked before the work begins.

    Raises:
        UnsupportedOption: the wanted format cannot hold the picture.
    """
    goal = written_as(source.format, options.format)
    holds = CAPABILITIES[goal]
    if max(width, height) > holds.max_side:
        raise UnsupportedOption(f"{goal} holds at most {holds.max_side:,} px a side, the result has {width} x {height}")
    notices: list[Notice] = []
    if options.format == "auto" and goal is not source.format:
        detail = f"The input's format is read and not written: the result is {goal}; the option format names another."
        notices.append(Notice(code="format_changed", detail=detail))
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
    if scheme == tiff.FAX:
        return tiff.LOSSLESS
    # JPEG inside TIFF holds 8 bits only.
    return tiff.LOSSLESS if scheme == "jpeg" and "16" in {options.bit_depth, str(source.bit_depth)} else scheme


def in_colour(plan: Plan, source: SourceImage, canvas: Canvas) -> Plan:
    """A gray source whose result was allowed to have colour, and has it, is written as sRGB."""
    if not source.is_gray or plan.space.kind is not Kind.GRAY or not plan.colour_allowed:
        return plan
    return replace(plan, space=SRGB) if has_colour(canvas) else plan


def encode(
    source: SourceImage,
    rendered: Rendered,
    plan: Plan,
    *,
    options: OutputOptions,
    source_type: SourceType | None,
    deed: Deed | None = None,
) -> Encoded:
    """The file; ``deed`` goes into the history of one that is marked, unless metadata are stripped.

    Raises:
        UnsupportedOption: the format refuses the picture.
        ScratchFull: the disk has no room for it.
    """
    height, width = rendered.samples.shape[:2]
    picture = vips.picture(rendered.samples, plan.space.kind.interpretation(plan.depth))
    bits = _stored_bits(source, rendered, plan, options)
    told = _told(source, plan, options).scaled(width / source.width, height / source.height)
    unknown = (metadata.UNKNOWN_RESOLUTION, metadata.UNKNOWN_RESOLUTION)
    picture = vips.dressed(picture, profile=_profile(source, plan), resolution=told.resolution or unknown)
    try:
        saving = _save_options(plan, options, rendered.samples.nbytes) | _few_bits(source, bits)
        bare = vips.save(picture, plan.format, **saving)
    except vips.VipsFailed as error:
        raise UnsupportedOption(f"a result of {width} x {height} px cannot be written as {plan.format}") from error
    pieces, notices = metadata.attached(
        bare,
        plan.format,
        told,
        width=width,
        height=height,
        source_type=source_type,
        deed=deed if options.metadata_policy == "keep" else None,
        extra=source.header.extra_sample if plan.alpha else None,
    )
    if bits == 8 and (source.header.file_bits < 8 or source.header.palette):
        notices += (_MORE_BITS,)
    holds = CAPABILITIES[plan.format]
    return Encoded(
        data=scratch.joined(pieces),
        format=plan.format,
        content_type=plan.format.content_type,
        extension=holds.extension,
        width=width,
        height=height,
        bit_depth=bits,
        space=plan.space,
        changed_px=rendered.changed_px,
        notices=plan.notices + notices,
    )


_MORE_BITS = Notice(
    code="written_as_8_bit", detail="The input's few levels or its palette cannot hold the result: 8 bits a sample."
)


def _stored_bits(source: SourceImage, rendered: Rendered, plan: Plan, options: OutputOptions) -> int:
    """Bits a sample in the file: the source's own few, where it is gray and came out as it went in."""
    header = source.header
    height, width = rendered.samples.shape[:2]
    same_size = (width, height) == (source.width, source.height)
    kept = options.bit_depth == "auto" and plan.format is header.format and same_size and not rendered.changed_px
    if not kept or header.palette or plan.alpha or plan.space.kind is not Kind.GRAY:
        return plan.depth
    # libvips spoils the last column of a TIFF of 4 bits and odd width.
    if header.format is Format.TIFF and header.file_bits == 4 and width % 2:
        return plan.depth
    return header.file_bits if header.file_bits in {1, 2, 4} else plan.depth


def _few_bits(source: SourceImage, bits: int) -> dict[str, Any]:
    """What to add to libvips' options."""
    if bits not in {1, 2, 4}:
        return {}
    if source.header.compression != tiff.FAX:
        return {"bitdepth": bits}
    return {"bitdepth": bits, "compression": tiff.FAX, "predictor": "none", "miniswhite": True}


def _told(source: SourceImage, plan: Plan, options: OutputOptions) -> Metadata:
    if options.metadata_policy == "strip":
        return source.metadata.stripped()
    return source.metadata if plan.format is source.format else source.metadata.in_another_format()


def _profile(source: SourceImage, plan: Plan) -> bytes | None:
    if plan.space is SRGB and source.space.profile is not None:
        return vips.builtin_profile("srgb")
    return plan.space.profile


def _save_options(plan: Plan, options: OutputOptions, size: int) -> dict[str, Any]:
    if plan.format is Format.JPEG:
        return {"Q": options.quality, "optimize_coding": False}
    if plan.format is Format.PNG:
        return {"compression": _PNG_LEVEL, "filter": "paeth"}
    if plan.format is Format.WEBP:
        # "exact" keeps the colours under transparent pixels.
        return {"lossless": True, "exact": True} if plan.lossless else {"Q": options.quality}
    predictor = {"predictor": "horizontal"} if plan.compression in {"lzw", "deflate"} else {}
    level = {"level": _TIFF_LEVEL} if plan.compression == "deflate" else {}
    return {
        "compression": plan.compression,
        "Q": options.quality,
        "bigtiff": size > _BIG_TIFF_BYTES,
        **predictor,
        **level,
    }
