"""Files on their way: what they are, read in parts, written whole."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

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
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
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


@contextlib.contextmanager
def written_whole(target: Path) -> Iterator[BinaryIO]:
    """A file beside the target that is renamed when all is well, so that a broken download leaves no half picture."""
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            yield file
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def sha256_of(file: Path) -> str:
    """SHA-256 of the file's bytes, in hexadecimal."""
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def media_type(file: Path) -> str:
    """The media type that the first bytes tell.

    Raises:
        UnsupportedFile: none of the types that the service reads.
    """
    with file.open("rb") as data:
        head = data.read(12)
    if head[:4] == b"RIFF" and head[8:] == b"WEBP":
        return "image/webp"
    if head[4:] in {b"ftypavif", b"ftypavis", b"ftypmif1"}:
        return "image/avif"
    for signature, kind in _SIGNATURES.items():
        if head.startswith(signature):
            return kind
    raise UnsupportedFile(f"{file.name} is not a JPEG, PNG, TIFF, WebP, GIF or AVIF file")
