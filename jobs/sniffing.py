"""What a file is by its first bytes: looked at by the API at the door, and by the worker before an upload is used."""

from __future__ import annotations

#: Longest signature that ``sniff`` looks at.
SNIFF_BYTES = 16

#: First bytes of what the pipeline decodes; a file of another kind is refused before it costs anything.
_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"II+\x00", "image/tiff"),  # BigTIFF
    (b"MM\x00+", "image/tiff"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


def sniff(head: bytes) -> str | None:
    """The media type that the first bytes of a file tell, or None for anything that we do not read."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head[4:12] in {b"ftypavif", b"ftypavis", b"ftypmif1"}:
        return "image/avif"
    return next((kind for signature, kind in _SIGNATURES if head.startswith(signature)), None)
