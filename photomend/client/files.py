"""Files on their way: what they are, read in parts, written whole."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from photomend.client.errors import UnsupportedFile

#: Hears of bytes sent, and of how many there are.
OnUpload = Callable[[int, int], None]

#: Of reading and writing; large enough that calls cost nothing, small enough that progress moves.
CHUNK_BYTES = 256 * 1024
_SIGNATURES = {
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"II*\x00": "image/tiff",
    b"MM\x00*": "image/tiff",
    b"II+\x00": "image/tiff",
    b"MM\x00+": "image/tiff",
}


def chunks(file: Path, on_upload: OnUpload | None) -> Iterator[bytes]:
    """The file's bytes, a part at a time; ``on_upload(sent, total)`` counts them."""
    total, sent = file.stat().st_size, 0
    with file.open("rb") as data:
        while chunk := data.read(CHUNK_BYTES):
            yield chunk
            sent += len(chunk)
            if on_upload is not None:
                on_upload(sent, total)


def write_whole(target: Path, chunks: Iterable[bytes]) -> None:
    """Write beside the target and rename, so that a broken download leaves no half picture."""
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            for chunk in chunks:
                file.write(chunk)
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def media_type(file: Path) -> str:
    """The media type that the first bytes tell.

    Raises:
        UnsupportedFile: none of the types that the service reads.
    """
    with file.open("rb") as data:
        head = data.read(12)
    if head[:4] == b"RIFF" and head[8:] == b"WEBP":
        return "image/webp"
    for signature, kind in _SIGNATURES.items():
        if head.startswith(signature):
            return kind
    raise UnsupportedFile(f"{file.name} is not a JPEG, PNG, TIFF or WebP file")
