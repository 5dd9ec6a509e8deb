"""The picture with its faces marked and named, at a size to look at, for a person who chooses among them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.geometry import bounds, enlarge
from pipeline.types import FaceRecord, FaceStatus, FloatImage

#: Longest side, as of other pictures for eyes (``comparison``).
MAX_SIDE = 2048
#: Faces are shown at least this large (longer side, px) where MAX_SIDE allows, so that their names fit beside them.
SHOWN_FACE_PX = 56
#: But never more enlarged than this: a face of 10 px shows no more at 100.
MAX_ENLARGED = 4.0

#: Height of a name's letters and the room around them, as a share of the picture's longer side, and their least in px.
_TEXT, _MIN_TEXT_PX = 0.009, 9
_ROOM = 0.35  #: of the letters' height
_FONT = cv2.FONT_HERSHEY_SIMPLEX

#: Colours (RGB) by what becomes of a face. Told apart by light as well as by hue, for those who see no difference
#: between red and green.
_COLOURS = {
    FaceStatus.FOUND: (0, 190, 80),
    FaceStatus.SKIPPED: (255, 200, 0),
    FaceStatus.REJECTED: (150, 30, 30),
}
_ORDER = (FaceStatus.REJECTED, FaceStatus.SKIPPED, FaceStatus.FOUND)


def shown_size(width: int, height: int, faces: Sequence[FaceRecord]) -> tuple[int, int]:
    """Width and height at which a picture of this size is shown."""
    named = [face.size_px for face in faces if face.status is not FaceStatus.REJECTED]
    wished = min(MAX_ENLARGED, max(1.0, SHOWN_FACE_PX / max(1.0, min(named, default=SHOWN_FACE_PX))))
    factor = min(wished, MAX_SIDE / max(width, height))
    return max(1, round(width * factor)), max(1, round(height * factor))


def annotated(image: FloatImage, faces: Sequence[FaceRecord], *, width: int, height: int) -> NDArray[np.uint8]:
    """A copy (H, W, 3) uint8 RGB with a box around each face and its id beside it.

    Green faces would be restored, yellow ones left as they are; dark red boxes, without an id, are no faces.

    Convention: ``image`` (H, W, 3) float32 RGB in [0, 1] shows the picture of ``width`` x ``height`` px that the faces'
    boxes are in, at whatever size.
    """
    size = image.shape[1], image.shape[0]
    canvas = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    to_canvas = enlarge(size[0] / width, size[1] / height)
    text_px = max(_MIN_TEXT_PX, round(_TEXT * max(size)))
    line_px = max(1, text_px // 6)
    # What matters most is drawn over the rest, and names over all boxes.
    ordered = sorted(faces, key=lambda face: _ORDER.index(face.status))
    boxes = [tuple(round(v) for v in bounds(to_canvas, face.box)) for face in ordered]
    for face, (x0, y0, x1, y1) in zip(ordered, boxes, strict=True):
        cv2.rectangle(canvas, (x0, y0), (x1, y1), _COLOURS[face.status], line_px, cv2.LINE_AA)
    for face, box in zip(ordered, boxes, strict=True):
        if face.status is not FaceStatus.REJECTED:
            _write(canvas, box, face.id, _COLOURS[face.status], text_px)
    return canvas


def _write(
    canvas: NDArray[np.uint8], box: tuple[int, ...], name: str, colour: tuple[int, int, int], text_px: int
) -> None:
    x0, y0, _, y1 = box
    thickness = max(1, text_px // 9)
    (_, letters), _ = cv2.getTextSize(name, _FONT, 1.0, thickness)
    size = text_px / letters
    (width, _), _ = cv2.getTextSize(name, _FONT, size, thickness)
    room = max(2, round(_ROOM * text_px))
    tag_width, tag_height = width + 2 * room, text_px + 2 * room
    # Above the box where there is room, and never beyond the picture's edge.
    left = min(max(0, x0), max(0, canvas.shape[1] - tag_width))
    top = y0 - tag_height if y0 >= tag_height else min(max(0, y1), canvas.shape[0] - tag_height)
    cv2.rectangle(canvas, (left, top), (left + tag_width, top + tag_height), colour, cv2.FILLED)
    place = (left + room, top + tag_height - room)
    cv2.putText(canvas, name, place, _FONT, size, (0, 0, 0), thickness, cv2.LINE_AA)
