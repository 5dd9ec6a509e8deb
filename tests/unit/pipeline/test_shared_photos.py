"""Every development photo is read as what it is and written as the same kind of picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.codec import Format, probe, read, write
from pipeline.colour import Kind
from pipeline.options import OutputOptions
from pipeline.picture import whole

pytestmark = pytest.mark.shared

#: What is unusual about a photo: format, channels, bits, alpha, orientation.
UNUSUAL = {
    "scan_cmyk_1.jpg": (Format.JPEG, Kind.CMYK, 8, False, 1),
    "scan_exif_orientation_3.jpg": (Format.JPEG, Kind.GRAY, 8, False, 3),
    "scan_rgba_png_named.jpg": (Format.PNG, Kind.RGB, 8, True, 1),
    "realesrgan_tree_alpha_16bit.png": (Format.PNG, Kind.RGB, 16, True, 1),
    "realesrgan_wolf_gray.jpg": (Format.JPEG, Kind.GRAY, 8, False, 1),
}


@pytest.fixture(scope="module")
def photos(shared_dir: Path) -> list[Path]:
    found = sorted((shared_dir / "photos").iterdir())
    assert len(found) >= 19
    return found


def test_every_photo_comes_out_as_the_same_kind_of_picture(photos):
    for path in photos:
        source = read(path)
        encoded = write(source, whole(source.picture), options=OutputOptions())
        again = read(encoded.data)
        assert encoded.changed_px == 0, path.name
        assert (again.format, again.bit_depth, again.space) == (source.format, source.bit_depth, source.space), (
            path.name
        )
        assert (again.alpha is None) == (source.alpha is None), path.name
        moved = np.abs(again.samples.astype(int) - source.samples)
        if source.header.lossless:
            assert moved.max() == 0, path.name
        # JPEG at quality 95: a level or two on average.
        assert moved.mean() < 2.5, path.name


def test_unusual_scans_are_recognised(photos):
    by_name = {path.name: path for path in photos}
    for name, (picture_format, kind, bits, alpha, orientation) in UNUSUAL.items():
        header = probe(by_name[name])
        assert (header.format, header.kind, header.bit_depth) == (picture_format, kind, bits)
        assert (header.has_alpha, header.orientation) == (alpha, orientation)
