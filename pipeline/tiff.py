"""The few things about a TIFF file that libvips does not tell: how its first picture is compressed.

Source: TIFF 6.0 (1992), section 2; BigTIFF as implemented by libtiff.
"""

from __future__ import annotations

import struct

_COMPRESSION = 259
#: Tag value → libvips' name. CCITT and unknown schemes are left out: gray levels need something else.
_SCHEMES = {1: "none", 5: "lzw", 7: "jpeg", 8: "deflate", 32946: "deflate", 32773: "packbits", 50000: "zstd"}

#: What is used where the source's own scheme cannot be.
LOSSLESS = "deflate"


def compression(data: bytes) -> str:
    """Libvips' name of the scheme that the first picture is stored with; ``deflate`` if that cannot be kept."""
    try:
        return _SCHEMES.get(_short(data, _COMPRESSION, default=1), LOSSLESS)
    except struct.error:
        return LOSSLESS


def _short(data: bytes, tag: int, *, default: int) -> int:
    """The first SHORT value of a tag in the first directory."""
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, at)
    at += 8 if big else 2
    entry, value_at = (20, 12) if big else (12, 8)
    # A damaged count cannot make us walk further than the file: unpack_from then raises.
    for i in range(min(count, 4096)):
        if struct.unpack_from(order + "H", data, at + i * entry)[0] == tag:
            return int(struct.unpack_from(order + "H", data, at + i * entry + value_at)[0])
    return default
