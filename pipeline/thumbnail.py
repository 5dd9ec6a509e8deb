"""Small copies, as every browser shows them: for contact sheets."""

from __future__ import annotations

from pipeline import vips
from pipeline.comparison import OverWhite
from pipeline.picture import resized
from pipeline.render import quantised
from pipeline.source import SourceImage

#: Longest side, px: sharp at twice the size that a report shows it in.
SIDE_PX = 400
_QUALITY = 82


def thumbnail(source: SourceImage) -> bytes:
    """A JPEG of at most ``SIDE_PX``, sRGB, upright, transparency over white."""
    shrink = min(1.0, SIDE_PX / max(source.width, source.height))
    size = max(1, round(source.width * shrink)), max(1, round(source.height * shrink))
    shown = source.picture if source.alpha is None else OverWhite(source.picture, source.alpha)
    return bytes(vips.save(vips.picture(quantised(resized(shown, *size), 8), "srgb"), "jpeg", Q=_QUALITY))
