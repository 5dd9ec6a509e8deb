"""From a file's bytes to a picture, with the guards before the work: format, header, size, then pixels."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from pipeline import containers, formats, icc, tiff, vips
from pipeline.colour import ColourSpace, Kind, profile_fits
from pipeline.errors import ImageTooLarge, TruncatedImage, UnsupportedImage, UnsupportedOption
from pipeline.formats import Format
from pipeline.opened import Opened, metadata_of, notices_of
from pipeline.source import Header, SourceImage
from pipeline.tiff import ExtraSample
from pipeline.types import Notice


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is refused before anything is decoded."""

    max_pixels: int = 250_000_000
    max_bytes: int = 4 * 1024**3


DEFAULT_LIMITS = Limits()


class Decode(Protocol):
    """What ``read`` does, here or somewhere safer."""

    def __call__(self, data: bytes, *, limits: Limits, page: int) -> SourceImage: ...


_DAMAGED = Notice(
    code="input_damaged", detail="The JPEG file's data is damaged inside; what could be decoded was used. Look at it."
)

_EIGHT_BIT_LEVELS = 256

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


def probe(data: bytes | Path, *, limits: Limits = DEFAULT_LIMITS, page: int = 1) -> Header:
    """Read the header and nothing else; ``page`` counts from 1.

    Raises:
        UnreadableImage: not a picture in one of our formats, or of a kind that we do not read.
        TruncatedImage: it begins as one, and its header is damaged.
        ImageTooLarge: more pixels or bytes than allowed.
        UnsupportedOption: there is no such page.
    """
    return _header(_open(_bytes(data, limits), page), limits)


def read(
    data: bytes | Path, *, limits: Limits = DEFAULT_LIMITS, page: int = 1, allocate: vips.Allocate = vips.in_memory
) -> SourceImage:
    """Decode a picture: one page (1 = first), orientation applied, alpha apart.

    ``allocate`` gives the memory that is decoded into; most pictures' samples stay there.

    Raises:
        UnreadableImage: not a picture in one of our formats, or of a kind that we do not read.
        TruncatedImage: the file ends before the picture does, or is damaged where its format can tell.
        ImageTooLarge: more pixels or bytes than allowed; decided by the header.
        UnsupportedOption: there is no such page.
    """
    opened = _open(_bytes(data, limits), page)
    header = _header(opened, limits)
    pixels, damage = _pixels(opened, allocate)
    pixels = _upright(_full_range(pixels, header), header.orientation)
    bands = header.kind.bands
    samples = np.ascontiguousarray(pixels[:, :, :bands])
    alpha = np.ascontiguousarray(pixels[:, :, bands:]) if header.has_alpha else None
    space, notices = _space(opened, header)
    return SourceImage(
        header=header,
        samples=samples,
        alpha=alpha,
        space=space,
        metadata=metadata_of(opened),
        notices=damage + notices + notices_of(opened, header) + _dark(samples),
    )


def _pixels(opened: Opened, allocate: vips.Allocate) -> tuple[vips.Samples, tuple[Notice, ...]]:
    """The samples as stored. Of a JPEG file with broken data inside, which has no checksum, what could be decoded.

    A person may have no other copy, and the decoder warns of harmless oddities with the same words; so it is said,
    not refused.
    """
    try:
        if opened.format is Format.JPEG:
            with contextlib.suppress(vips.VipsFailed):
                strictly = vips.open_picture(opened.data, opened.format, forgiving=False)
                return vips.samples(strictly, allocate=allocate), ()
            _refuse_empty(opened)
            return vips.samples(opened.image, allocate=allocate), (_DAMAGED,)
        return vips.samples(opened.image, whole=opened.format is Format.TIFF, allocate=allocate), ()
    except vips.VipsFailed as error:
        _refuse_kind(opened.data, opened.format, opened.page)
        raise TruncatedImage(f"the {opened.format} file ends before its picture does, or is damaged") from error


def _refuse_empty(opened: Opened) -> None:
    """Refuse a JPEG file that is too short for its size: a kilobyte may claim hundreds of megapixels.

    A block of 8 x 8 pixels takes one bit at least, its first coefficient's shortest Huffman code. Source: ITU-T T.81,
    F.1.2.1; a file in arithmetic code, which can be shorter, is read strictly or not at all.
    """
    if opened.image.width * opened.image.height > 64 * 8 * len(opened.data):
        raise TruncatedImage("the JPEG file has too few bytes for its pixels")


def _full_range(pixels: vips.Samples, header: Header) -> vips.Samples:
    """AVIF's 10 or 12 bits spread over all of 16: libvips only moves them up, so that white would not be white."""
    if header.format is Format.AVIF and header.file_bits in {10, 12}:
        spread: vips.Samples = pixels | pixels >> header.file_bits
        return spread
    return pixels


def _bytes(data: bytes | Path, limits: Limits) -> bytes:
    size = len(data) if isinstance(data, bytes) else data.stat().st_size
    if size > limits.max_bytes:
        raise ImageTooLarge(f"the file has {size:,} bytes, allowed are {limits.max_bytes:,}")
    return data if isinstance(data, bytes) else data.read_bytes()


def _open(data: bytes, page: int) -> Opened:
    picture_format = formats.sniff(data)
    if picture_format is Format.TIFF:
        tiff.refuse_camera_raw(data)
    try:
        image = vips.open_picture(data, picture_format)
        pages = vips.field(image, "n-pages", 1)
        if not 1 <= page <= pages:
            has = "only one page" if pages == 1 else f"{pages} pages"
            raise UnsupportedOption(f"there is no page {page}: the file has {has}")
        if page > 1:
            image = vips.open_picture(data, picture_format, page=page)
    except vips.VipsFailed as error:
        _refuse_kind(data, picture_format, page)
        raise TruncatedImage(f"it begins as {picture_format}, but its header cannot be read") from error
    if picture_format is Format.GIF and formats.gif_has_no_pixels(data) and 1 in {image.width, image.height}:
        raise TruncatedImage("the gif file has no pixels: libvips made one up")
    return Opened(data=data, format=picture_format, page=page, image=image)


def _refuse_kind(data: bytes, picture_format: Format, page: int) -> None:
    """Not damaged, as libvips' refusal may look, but of a kind that it does not read."""
    if picture_format is Format.TIFF:
        tiff.refuse_compression(data, page)
    if picture_format is Format.JPEG:
        containers.refuse_jpeg_kind(data)


def _header(opened: Opened, limits: Limits) -> Header:
    image, picture_format = opened.image, opened.format
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
        palette=_has_palette(opened),
        has_profile=vips.field(image, "icc-profile-data") is not None,
        orientation=orientation if 1 <= orientation <= 8 else 1,
        page=opened.page,
        pages=vips.field(image, "n-pages", 1),
        lossless=_is_lossless(opened),
        compression=tiff.compression(opened.data, opened.page) if picture_format is Format.TIFF else None,
        extra_sample=_extra_sample(opened) if image.bands > kind.bands else None,
    )


def _is_lossless(opened: Opened) -> bool:
    if opened.format is Format.WEBP:
        return formats.webp_is_lossless(opened.data)
    if opened.format is Format.TIFF:
        return tiff.compression(opened.data, opened.page) != "jpeg"
    return opened.format in {Format.PNG, Format.GIF}


def _has_palette(opened: Opened) -> bool:
    if opened.format is Format.TIFF:
        return tiff.has_palette(opened.data, opened.page)
    return bool(vips.field(opened.image, "palette", 0))


def _extra_sample(opened: Opened) -> ExtraSample:
    if opened.format is Format.TIFF:
        return tiff.extra_sample(opened.data, opened.page)
    return ExtraSample.UNASSOCIATED


def _upright(pixels: vips.Samples, orientation: int) -> vips.Samples:
    """The picture as it should be seen. Source: EXIF 2.32, tag 0x0112."""
    turned = pixels.transpose(1, 0, 2) if orientation in {5, 6, 7, 8} else pixels
    if orientation in {3, 4, 7, 8}:
        turned = turned[::-1]
    if orientation in {2, 3, 6, 7}:
        turned = turned[:, ::-1]
    return turned


def _space(opened: Opened, header: Header) -> tuple[ColourSpace, tuple[Notice, ...]]:
    notices: list[Notice] = []
    profile = vips.field(opened.image, "icc-profile-data") or _told_profile(opened, header.kind)
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
    return space, tuple(notices)


def _told_profile(opened: Opened, kind: Kind) -> bytes | None:
    """A profile for what a file without one says of its colours in its format's own words."""
    if opened.format is Format.AVIF and formats.avif_is_p3(opened.data):
        return vips.builtin_profile("p3")
    if opened.format is Format.PNG and (encoding := containers.png_encoding(opened.data)):
        return icc.profile(encoding, gray=kind is Kind.GRAY)
    return None


def _dark(samples: vips.Samples) -> tuple[Notice, ...]:
    """A 16-bit file is read as what it says, however small its values; that they may mean something else is said."""
    if samples.dtype != np.uint16 or samples.max() >= _EIGHT_BIT_LEVELS:
        return ()
    detail = (
        "All values of this 16-bit picture are below 256: it is nearly black. Were they meant for 8 bits, scale them."
    )
    return (Notice(code="nearly_black", detail=detail),)
