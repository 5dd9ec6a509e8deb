"""A large scan goes through in bounded memory: the kernel refuses more, and is seen to refuse it."""

from __future__ import annotations

import pytest

from tests.memory import run

MEGAPIXELS, SCALE = 12, 2

#: What the work may take on top of a loaded process. Measured 540 MiB, of which detection, whose copies have a bounded
#: size, takes 300, and the file and its samples 140. One float canvas of the result alone has 549 MiB, and making,
#: changing and encoding it takes three.
LIMIT_MIB = 750
CANVAS_MIB = MEGAPIXELS * 1e6 * SCALE**2 * 3 * 4 / 1024**2


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_12_megapixel_16_bit_scan_with_faces_is_doubled_in_less_memory_than_two_float_canvases(tmp_path):
    measured = run(megapixels=MEGAPIXELS, limit_mib=LIMIT_MIB, scale=SCALE, folder=tmp_path)
    assert measured.refused, "an allocation above the limit succeeded: there was no limit"
    assert LIMIT_MIB < 2 * CANVAS_MIB
    assert measured.peak_mib - measured.loaded_mib < LIMIT_MIB
    assert measured.faces >= 1
    assert measured.files["image"] >= MEGAPIXELS * 1e6 * SCALE**2 * 3 * 2
    assert set(measured.files) >= {"image", "mask", "comparison", "provenance", "faces/0"}
