"""A file of which the header has been read, and what it says beside its pixels."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from pipeline import containers, exif, formats, iptc, vips, xmp
from pipeline.exif import Exif
from pipeline.formats import Format
from pipeline.ifd import BadDirectory
from pipeline.metadata import Metadata
from pipeline.source import Header
from pipeline.tiff import ExtraSample
from pipeline.types import Notice


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A file of which the header has been read."""

    data: bytes
    format: Format
    page: int  #: 1 = first
    image: Any  #: libvips'


#: Ten times finer than the finest scanner: what is above is damage, and would not fit the fraction that we write.
_FINEST_PX_PER_MM = 10_000


def metadata_of(opened: Opened) -> Metadata:
    """The file's own words."""
    image, tags = opened.image, _exif(opened)
    captions = vips.field(image, "iptc-data") or vips.field(image, "photoshop-data") or b""
    return Metadata(
        exif=tags,
        xmp=vips.field(image, "xmp-data"),
        iptc=containers.png_captions(opened.data) if opened.format is Format.PNG else iptc.bare(captions),
        comments=containers.comments(opened.data, opened.format),
        resolution=_resolution(opened, tags),
    )


def _exif(opened: Opened) -> Exif:
    """The tags; none where they cannot be read: a damaged note is no reason to refuse a picture."""
    with contextlib.suppress(BadDirectory):
        if opened.format is Format.TIFF:
            return exif.from_tiff(opened.data, opened.page)
        if block := vips.field(opened.image, "exif-data"):
            return exif.from_block(block)
    return Exif(order="<")


def _resolution(opened: Opened, tags: Exif) -> tuple[float, float] | None:
    """Pixels per mm. A format with a field of its own for it is asked first, and libvips knows its units."""
    if opened.format in {Format.WEBP, Format.GIF, Format.AVIF}:
        found = tags.resolution
    else:
        image = opened.image
        # libvips says 1 px/mm where a TIFF file says nothing.
        told = vips.field(image, "resolution-unit") is not None or (image.xres, image.yres) != (1.0, 1.0)
        found = (image.xres, image.yres) if told else None
    return found if found is not None and all(0 < one <= _FINEST_PX_PER_MM for one in found) else None


def notices_of(opened: Opened, header: Header) -> tuple[Notice, ...]:
    """What a caller should know of the file's kind."""
    return _of_header(header) + _of_animation(opened) + _of_gain_map(opened) + _of_bombs(opened)


def _of_header(header: Header) -> tuple[Notice, ...]:
    notices = []
    if header.pages > 1 and header.page == 1:
        detail = f"Only the first of {header.pages} pages was processed; the option page names another."
        notices.append(Notice(code="first_page_only", detail=detail))
    if header.extra_sample is ExtraSample.UNSPECIFIED:
        detail = "A channel beside the colours, not said to be transparency, was enlarged and kept as it is."
        notices.append(Notice(code="extra_channel_kept", detail=detail))
    if header.extra_sample is ExtraSample.ASSOCIATED:
        detail = "Colours were stored multiplied by transparency; the result stores them plain."
        notices.append(Notice(code="alpha_unassociated", detail=detail))
    return tuple(notices)


def _of_animation(opened: Opened) -> tuple[Notice, ...]:
    """Where libvips, which counts other formats' frames as pages, does not tell of it."""
    tests = {Format.PNG: containers.png_is_animated, Format.AVIF: formats.avif_is_animated}
    is_animated = tests.get(opened.format)
    if is_animated is None or not is_animated(opened.data):
        return ()
    detail = "The file is an animation: only the still picture that it shows to other readers was processed."
    return (Notice(code="first_page_only", detail=detail),)


def _of_bombs(opened: Opened) -> tuple[Notice, ...]:
    bombs = containers.png_bombs(opened.data) if opened.format is Format.PNG else 0
    if not bombs:
        return ()
    detail = f"{bombs} of the PNG file's texts were left out: they unpack to more than any caption has."
    return (Notice(code="metadata_left_out", detail=detail),)


def _of_gain_map(opened: Opened) -> tuple[Notice, ...]:
    if not xmp.tells_of_gain_map(vips.field(opened.image, "xmp-data") or b""):
        return ()
    detail = "The photo's HDR gain map was left out: the result is its standard picture."
    return (Notice(code="gain_map_left_out", detail=detail),)
