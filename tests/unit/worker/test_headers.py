"""Headers by ranges: the size that the decoder would say for a few kilobytes, or a reason."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest

from jobs.errors import ObjectChanged
from jobs.model import ObjectRef
from tests.doubles import MemoryBlobs
from worker import headers
from worker.headers import BLOCK, HeaderUnreadable, read_header

REF = ObjectRef(bucket="scans", key="in/a")
WIDTH, HEIGHT = 321, 200


class Counting(MemoryBlobs):
    """Counts what is read."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.ensure_bucket("scans")
        self.info = self.put(REF, data, content_type="image/any")
        self.bytes = self.calls = 0

    def read_range(self, ref: ObjectRef, **words: Any) -> bytes:
        data = super().read_range(ref, **words)
        self.bytes, self.calls = self.bytes + len(data), self.calls + 1
        return data

    def header(self) -> headers.Header:
        return read_header(self, REF, etag=self.info.etag, size=self.info.size)


def picture(ending: str, **words: Any) -> bytes:
    from pipeline import vips

    noise = np.random.default_rng(7).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    if ending == "avif":
        from PIL import Image

        Image.fromarray(noise).save(file := io.BytesIO(), "AVIF", **words)
        return file.getvalue()
    return bytes(vips.save(vips.picture(noise, "srgb"), ending, **words))


@pytest.mark.parametrize(
    ("ending", "kind", "words"),
    [
        ("jpeg", "image/jpeg", {}),
        ("png", "image/png", {}),
        ("tiff", "image/tiff", {}),
        ("tiff", "image/tiff", {"bigtiff": True, "compression": "lzw", "predictor": "horizontal"}),
        ("webp", "image/webp", {}),
        ("webp", "image/webp", {"lossless": True}),
        ("gif", "image/gif", {}),
        ("avif", "image/avif", {"speed": 10}),
    ],
)
def test_a_header_says_what_the_decoder_would_say(ending: str, kind: str, words: dict[str, Any]) -> None:
    found = Counting(picture(ending, **words)).header()
    assert (found.content_type, found.width, found.height) == (kind, WIDTH, HEIGHT)
    assert found.megapixels == pytest.approx(WIDTH * HEIGHT / 1e6)


def test_a_large_scan_costs_a_few_blocks_wherever_its_directory_lies() -> None:
    """TIFF's directory lies behind the pixels as most scanners write it."""
    size = 8 * BLOCK
    pixels, entries = bytes(size), [(256, 4, WIDTH), (257, 4, HEIGHT)]
    tags = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    file = struct.pack("<2sHI", b"II", 42, 8 + size) + pixels + struct.pack("<H", 2) + tags + bytes(4)
    blobs = Counting(file)
    assert blobs.header().width == WIDTH
    assert blobs.bytes < 3 * BLOCK


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "image_unreadable"),
        (b"%PDF-1.7 and so on", "image_unreadable"),
        (picture("jpeg")[:20], "image_truncated"),
        (picture("png")[:15], "image_truncated"),
        (b"II*\x00\xff\xff\xff\x00", "image_truncated"),
        # Four gigabytes of directory entries, and of JPEG segments that lead nowhere.
        (b"II+\x00\x08\x00\x00\x00" + struct.pack("<QQ", 16, 2**60) + bytes(40 * BLOCK), "image_truncated"),
        (b"\xff\xd8" + b"\xff\xe1\x00\x02" * (10 * BLOCK), "image_truncated"),
        (b"\xff\xd8\xff" + bytes(60 * BLOCK), "image_truncated"),
    ],
)
def test_what_says_no_size_is_told_by_a_code_after_a_bounded_read(data: bytes, code: str) -> None:
    blobs = Counting(data)
    with pytest.raises(HeaderUnreadable) as error:
        blobs.header()
    assert error.value.failure_code == code
    assert error.value.detail.endswith(".")
    assert blobs.bytes <= headers.MOST_BLOCKS * BLOCK


def test_another_version_of_the_object_is_not_read() -> None:
    blobs = Counting(picture("png"))
    with pytest.raises(ObjectChanged):
        read_header(blobs, REF, etag="another", size=blobs.info.size)
