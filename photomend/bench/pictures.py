"""The pictures that are restored: the shared whole photos where they are, else made ones, and larger ones from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from photomend.bench.contest import Workshop

#: The whole photos of GFPGAN's own examples, by the names that rows use; and sizes of those made in their place (px).
PHOTOS = {
    "blake": ("whole_Blake_Lively.jpg", (700, 464)),
    "10045": ("whole_10045.png", (783, 1146)),
    "00": ("whole_00.jpg", (1297, 1920)),
}
EIGHT, SCAN, ALIGNED = "eight", "scan", "aligned"
#: Width of the scan (px): 24 megapixels at the shape of the third photo.
SCAN_WIDTH = 4051
#: Side of a portrait in the picture of eight, and how many there are in a row and a column.
PORTRAIT_PX, ACROSS, DOWN = 400, 4, 2


def file(place: Workshop, case: str) -> Path:
    """The picture of this case; made when it is not there yet.

    Raises:
        ModuleNotFoundError: one must be made, from a portrait of scikit-image's, which is not installed.
    """
    if case in PHOTOS and place.photos is not None and (found := place.photos / PHOTOS[case][0]).is_file():
        return found
    name = PHOTOS[case][0] if case in PHOTOS else f"{case}.jpg"
    path = place.folder / "photos" / name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        _make(place, case, path)
    return path


def _make(place: Workshop, case: str, path: Path) -> None:
    import cv2

    # Out of the way first, so that a picture is there whole or not at all.
    unfinished = path.with_name(f"unfinished-{path.name}")
    cv2.imwrite(str(unfinished), _drawn(place, case), [cv2.IMWRITE_JPEG_QUALITY, 95])
    unfinished.rename(path)


def _drawn(place: Workshop, case: str) -> Any:
    """BGR samples."""
    import cv2
    import numpy as np

    if case == SCAN:
        photo = cv2.imread(str(file(place, "00")))
        assert photo is not None  # noqa: S101 - our own file
        size = SCAN_WIDTH, round(SCAN_WIDTH * photo.shape[0] / photo.shape[1])
        return cv2.resize(photo, size, interpolation=cv2.INTER_CUBIC)
    from skimage import data

    portrait = data.astronaut()[:320, 60:380, ::-1]  # type: ignore[no-untyped-call]
    if case == ALIGNED:
        return cv2.resize(portrait[20:220, 60:260], (512, 512), interpolation=cv2.INTER_CUBIC)
    if case == EIGHT:
        one = cv2.resize(portrait, (PORTRAIT_PX, PORTRAIT_PX), interpolation=cv2.INTER_CUBIC)
        return np.tile(one, (DOWN, ACROSS, 1))
    return _photo(portrait, PHOTOS[case][1])


def _photo(portrait: Any, size: tuple[int, int]) -> Any:
    """A gray picture of ``size`` (width, height) with two portraits."""
    import cv2
    import numpy as np

    width, height = size
    image = np.full((height, width, 3), 128, np.uint8)
    side = round(min(width / 2.2, height * 0.9))
    one = cv2.resize(portrait, (side, side), interpolation=cv2.INTER_AREA)
    for at in (0, width // 2):
        image[:side, at : at + side] = one
    return image
