"""From a file's bytes to a picture, with the guards before the work: format, header, size, then pixels."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import formats, tiff, vips
from pipeline.colour import ColourSpace, Kind, profile_fits, to_working
from pipeline.errors import ImageTooLarge, TruncatedImage, UnsupportedImage
from pipeline.formats import Format
from pipeline.metadata import Metadata, without_thumbnail
from pipeline.source import Header, SourceImage
from pipeline.types import Notice


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is refused before anything is decoded."""

    max_pixels: int = 250_000_000
    max_bytes: int = 4 * 1024**3


DEFAULT_LIMITS = Limits()

_DAMAGED = Notice(
    code="input_damaged", detail="The JPEG file's data is damaged inside; what could be decoded was used. Look at it."
)

#: libvips' name for the channels → ours.
_KINDS = {
    "b-w": Kind.GRAY,
    "grey16": Kind.GRAY,
    "srgb": Kind.RGB,
    "rgb": Kind.RGB,
    "rgb16": Kind.RGB,
    "cmyk": Kind.CMYK,
}
_DEPTHS = {"uchar": 8, "ushort": 16}


def probe(data: bytes | Path, *, limits: Limits = DEFAULT_LIMITS) -> Header:
    """Read the header and nothing else.

    Raises:
        UnreadableImage: not a picture in one of our formats, or of a kind that we do not read.
        TruncatedImage: it begins as one, and its header is damaged.
        ImageTooLarge: more pixels or bytes than allowed.
    """
    return _header(*_open(_bytes(data, limits)), limits)


def read(data: bytes | Path, *, limits: Limits = DEFAULT_LIMITS) -> SourceImage:
    """Decode a picture: first page, orientation applied, alpha apart, working copy in sRGB.

    Raises:
        UnreadableImage: not a picture in one of our formats, or of a kind that we do not read.
        TruncatedImage: the file ends before the picture does, or is damaged where its format can tell.
        ImageTooLarge: more pixels or bytes than allowed; decided by the header.
    """
    raw = _bytes(data, limits)
    image, picture_format, raw = _open(raw)
    header = _header(image, picture_format, raw, limits)
    pixels, damage = _pixels(image, raw, header)
    pixels = _upright(pixels, header.orientation)
    bands = header.kind.bands
    samples = np.ascontiguousarray(pixels[:, :, :bands])
    alpha = np.ascontiguousarray(pixels[:, :, bands:]) if header.has_alpha else None
    space, notices = _space(image, header)
    return SourceImage(
        header=header,
        working=to_working(samples, space),
        samples=samples,
        alpha=alpha,
        space=space,
        metadata=_metadata(image),
        notices=damage + notices,
    )


def _pixels(image: Any, data: bytes, header: Header) -> tuple[vips.Samples, tuple[Notice, ...]]:
    """The samples as stored. Of a JPEG file with broken data inside, which has no checksum, what could be decoded.

    A person may have no other copy, and the decoder warns of harmless oddities with the same words; so it is said,
    not refused.
    """
    try:
        if header.format is Format.JPEG:
            with contextlib.suppress(vips.VipsFailed):
                return vips.samples(vips.open_picture(data, header.format, forgiving=False)), ()
            return vips.samples(image), (_DAMAGED,)
        return vips.samples(image), ()
    except vips.VipsFailed as error:
        raise TruncatedImage(f"the {header.format} file ends before its picture does, or is damaged") from error


def _bytes(data: bytes | Path, limits: Limits) -> bytes:
    size = len(data) if isinstance(data, bytes) else data.stat().st_size
    if size > limits.max_bytes:
        raise ImageTooLarge(f"the file has {size:,} bytes, allowed are {limits.max_bytes:,}")
    return data if isinstance(data, bytes) else data.read_bytes()


def _open(data: bytes) -> tuple[Any, Format, bytes]:
    picture_format = formats.sniff(data)
    try:
        return vips.open_picture(data, picture_format), picture_format, data
    except vips.VipsFailed as error:
        raise TruncatedImage(f"it begins as {picture_format}, but its header cannot be read") from error


def _header(image: Any, picture_format: Format, data: bytes, limits: Limits) -> Header:
    if image.width * image.height > limits.max_pixels:
        raise ImageTooLarge(
            f"the picture has {image.width:,} x {image.height:,} px, "
            f"allowed are {limits.max_pixels / 1e6:,.3g} megapixels"
        )
    kind, depth = _KINDS.get(image.interpretation), _DEPTHS.get(image.format)
    if kind is None or depth is None or image.bands - kind.bands not in {0, 1}:
        raise UnsupportedImage(
            f"{image.bands} channels of {image.format} as {image.interpretation} are not read; "
            "gray, RGB and CMYK of up to 16 bits are, with or without alpha"
        )
    orientation = vips.field(image, "orientation", 1)
    sideways = orientation in {5, 6, 7, 8}
    return Header(
        format=picture_format,
        width=image.height if sideways else image.width,
        height=image.width if sideways else image.height,
        bit_depth=depth,
        file_bits=vips.field(image, "bits-per-sample", depth),
        kind=kind,
        has_alpha=image.bands > kind.bands,
        palette=bool(vips.field(image, "palette", 0)),
        has_profile=vips.field(image, "icc-profile-data") is not None,
        orientation=orientation if 1 <= orientation <= 8 else 1,
        pages=vips.field(image, "n-pages", 1),
        lossless=_is_lossless(picture_format, data),
        compression=tiff.compression(data) if picture_format is Format.TIFF else None,
    )


def _is_lossless(picture_format: Format, data: bytes) -> bool:
    if picture_format is Format.WEBP:
        return formats.webp_is_lossless(data)
    if picture_format is Format.TIFF:
        return tiff.compression(data) != "jpeg"
    return picture_format is Format.PNG


def _upright(pixels: vips.Samples, orientation: int) -> vips.Samples:
    """The picture as it should be seen. Source: EXIF 2.32, tag 0x0112."""
    turned = pixels.transpose(1, 0, 2) if orientation in {5, 6, 7, 8} else pixels
    if orientation in {3, 4, 7, 8}:
        turned = turned[::-1]
    if orientation in {2, 3, 6, 7}:
        turned = turned[:, ::-1]
    return turned


def _space(image: Any, header: Header) -> tuple[ColourSpace, tuple[Notice, ...]]:
    notices: list[Notice] = []
    profile = vips.field(image, "icc-profile-data")
    if profile is not None and not profile_fits(header.kind, profile):
        notices.append(
            Notice(code="icc_ignored", detail=f"The embedded colour profile is damaged or not for {header.kind}.")
        )
        profile = None
    space = ColourSpace(kind=header.kind, profile=profile)
    if space.is_one_way:
        notices.append(
            Notice(code="profile_one_way", detail="The profile leads to sRGB only; changes were carried back roughly.")
        )
    if header.kind is Kind.CMYK and profile is None:
        notices.append(
            Notice(code="cmyk_without_profile", detail="CMYK without a profile was read by a generic press profile.")
        )
    if header.pages > 1:
        notices.append(Notice(code="first_page_only", detail=f"Only the first of {header.pages} pages was processed."))
    return space, tuple(notices)


#: Text fields that a format's own loader fills and its saver writes back.
_TEXTS = ("png-comment-", "image-description", "jpeg-comment-")


def _metadata(image: Any) -> Metadata:
    resolution = (image.xres, image.yres)
    # libvips says 1 px/mm where a TIFF or WebP file says nothing.
    told = vips.field(image, "resolution-unit") is not None or resolution != (1.0, 1.0)
    exif = vips.field(image, "exif-data")
    texts = {name: image.get(name) for name in image.get_fields() if name.startswith(_TEXTS)}
    return Metadata(
        exif=without_thumbnail(exif) if exif is not None else None,
        xmp=vips.field(image, "xmp-data"),
        iptc=vips.field(image, "iptc-data"),
        texts={name: text for name, text in texts.items() if isinstance(text, str)},
        resolution=resolution if told and min(resolution) > 0 else None,
    )
