"""``make gallery`` shows every photo that it is given, and tells of those that it cannot show."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from tests import gallery

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_gallery_has_a_sheet_per_photo_and_names_what_it_could_not_read(tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "gallery"
    photos.mkdir()
    from photomend.demo.picture import old_photo

    (photos / "old.png").write_bytes(old_photo())
    (photos / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 torn")

    made = subprocess.run(
        [sys.executable, "-m", "tests.gallery", str(photos), "-o", str(out), "--scale", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert made.returncode == 1, "one photo could not be shown"
    assert "1 of 1 candidates restored" in made.stderr
    sheet = cv2.imread(str(out / "old.png.sheet.png"))
    assert sheet is not None
    panels, faces = gallery.PANEL_PX + gallery.BAR_PX + gallery.GAP_PX, gallery.FACE_PX + gallery.BAR_PX
    assert sheet.shape[0] == panels + faces + gallery.GAP_PX
    assert sheet.shape[1] == 4 * (gallery.PANEL_PX + gallery.GAP_PX)
    page = (out / "index.html").read_text()
    assert 'src="old.png.sheet.png"' in page
    assert "torn.jpg</h2><p>The input picture is truncated or damaged." in page
