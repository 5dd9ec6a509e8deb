"""Training pictures for the detector: faces pasted onto face-free backgrounds, with exact boxes and landmarks.

What could give a paste away must not mean "face": the same outlines also carry textures, skin and jumbled faces.

Convention: pictures (S, S, 3) float32 RGB in [0, 1]; boxes (x0, y0, x1, y1) and points (x, y) in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from pipeline.training.ageing import aged
from pipeline.training.anchors import Targets
from pipeline.training.degrade import as_floats
from pipeline.training.faces import FACE_PX, Faces
from pipeline.training.placement import Label, covered_share, mirrored, moved, visible_share
from pipeline.training.textures import background
from pipeline.types import Affine, FloatImage, Mask

#: Faces of which less than this share is inside the picture count neither as face nor as background.
LEAST_VISIBLE = 0.6
#: Faces smaller than this (px, longer side) likewise.
LEAST_FACE_PX = 13.0
#: A new face may cover at most this share of an older one's box.
MOST_COVERED = 0.05
#: Side at which a distractor's texture is made before it is enlarged.
TEXTURE_PX = 160
#: Side at which outlines are drawn before they are enlarged.
OUTLINE_PX = 128
#: Number of faces in a picture and how often.
FACE_COUNTS, FACE_COUNT_SHARES = (0, 1, 2, 3, 6, 10, 24), (0.14, 0.34, 0.18, 0.12, 0.1, 0.08, 0.04)
#: The same in hard scenes.
HARD_COUNT_SHARES = (0.26, 0.34, 0.1, 0.08, 0.08, 0.07, 0.07)
#: Largest face of a picture with so many, as a share of the picture's side: (most faces, share), first that fits.
LARGEST_FACE = ((1, 1.05), (3, 0.6), (10, 0.22), (24, 0.13))
#: Tilt of faces in the picture's plane, degrees: standard deviation and most.
TILT_DEG, MOST_TILT_DEG = 18.0, 55.0
#: Longer side (px) of the smallest faces that are pasted, and that of large ones as a share of the picture's.
SMALLEST_PASTED_PX, LARGE_FACE = 14.0, 0.4
#: Share of hard scenes that are enlarged from half their size, and of backgrounds made of portraits.
ENLARGED_SHARE, HEADLESS_SHARE = 0.2, 0.4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Material:
    """What scenes are made of."""

    faces: Faces
    labels: dict[int, Label]  #: by the index of the face; faces without a label are not used
    pictures: tuple[NDArray[np.uint8], ...]  #: without faces


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """One training picture and what there is to find."""

    image: FloatImage
    clean: FloatImage  #: the same before it grew old
    targets: Targets


def compose(material: Material, *, side: int, rng: Generator, hard: bool = False) -> Scene:
    """A random scene; a function of its arguments and of the generator's state alone.

    ``hard``: more of what early networks took for faces (portraits without their face, enlarged pictures, nothing at
    all), and more large faces.
    """
    if hard and rng.random() < ENLARGED_SHARE:
        return _enlarged(_compose(material, side=side // 2, rng=rng, hard=True))
    return _compose(material, side=side, rng=rng, hard=hard)


def _compose(material: Material, *, side: int, rng: Generator, hard: bool) -> Scene:
    if hard and rng.random() < HEADLESS_SHARE:
        canvas = _headless(material, side, rng)
    else:
        canvas = background(rng, side, material.pictures)
    for _ in range(int(rng.integers(0, 4))):
        canvas = _paste_distractor(canvas, material, rng)
    found: list[Label] = []
    ignored: list[NDArray[np.float32]] = []
    count = int(rng.choice(FACE_COUNTS, p=HARD_COUNT_SHARES if hard else FACE_COUNT_SHARES))
    for _ in range(count):
        canvas = _paste_face(canvas, material, rng, found, ignored, crowd=count, hard=hard)
    smallest_px = min((float(f.box[3] - f.box[1]) for f in found), default=0.0)
    return Scene(
        image=aged(canvas, rng, smallest_px=smallest_px), clean=np.clip(canvas, 0, 1), targets=_targets(found, ignored)
    )


def _enlarged(scene: Scene) -> Scene:
    """The scene at twice its size, as the pipeline's second look at small pictures sees it."""
    old = scene.targets
    targets = Targets(boxes=old.boxes * 2, landmarks=old.landmarks * 2, ignored=old.ignored * 2)
    return Scene(image=_doubled(scene.image), clean=_doubled(scene.clean), targets=targets)


def _doubled(image: FloatImage) -> FloatImage:
    side = 2 * image.shape[0]
    return np.clip(as_floats(cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC)), 0, 1)


def _headless(material: Material, side: int, rng: Generator) -> FloatImage:
    """A part of a portrait with its face covered, or of what is beside the face: hair, clothes, flags, walls."""
    index = int(rng.choice(list(material.labels)))
    label, face = material.labels[index], material.faces[index]
    if rng.random() < 0.3:
        return as_floats(cv2.resize(_skin(face, label, rng), (side, side), interpolation=cv2.INTER_AREA))
    if rng.random() < 0.5:
        fill = background(rng, TEXTURE_PX, material.pictures)
    else:
        corner = face[:TEXTURE_PX, :TEXTURE_PX] if rng.random() < 0.5 else face[-TEXTURE_PX:, :TEXTURE_PX]
        fill = as_floats(cv2.GaussianBlur(corner, (0, 0), rng.uniform(0.5, 12)))
    mask = np.zeros((FACE_PX, FACE_PX), np.float32)
    x0, y0, x1, y1 = (float(v) for v in label.box)
    axes = (round(0.62 * (x1 - x0)), round(0.62 * (y1 - y0)))
    cv2.ellipse(mask, (round((x0 + x1) / 2), round((y0 + y1) / 2)), axes, 0, 0, 360, 1.0, -1)
    share = cv2.GaussianBlur(mask, (0, 0), rng.uniform(1, 10))[:, :, None]
    covered = face + (as_floats(cv2.resize(fill, (FACE_PX, FACE_PX))) - face) * share
    part = int(FACE_PX * rng.uniform(0.3, 1))
    x, y = (int(v) for v in rng.integers(0, FACE_PX - part + 1, 2))
    taken = covered[y : y + part, x : x + part]
    how = cv2.INTER_AREA if part > side else cv2.INTER_LINEAR
    return as_floats(cv2.resize(taken, (side, side), interpolation=how))


def _paste_face(
    canvas: FloatImage,
    material: Material,
    rng: Generator,
    found: list[Label],
    ignored: list[NDArray[np.float32]],
    *,
    crowd: int,
    hard: bool,
) -> FloatImage:
    """The canvas with one more face, its label added to ``found`` or ``ignored``; unchanged where it has no room."""
    side = canvas.shape[0]
    index = int(rng.choice(list(material.labels)))
    label, face = material.labels[index], material.faces[index]
    if rng.random() < 0.5:
        face, label = np.ascontiguousarray(face[:, ::-1]), mirrored(label)
    smallest = LARGE_FACE * side if hard and crowd == 1 and rng.random() < 0.5 else SMALLEST_PASTED_PX
    # In a crowd on a small canvas the share alone would be less than a face may be.
    largest = max(smallest, side * next(share for most, share in LARGEST_FACE if crowd <= most))
    size = float(np.exp(rng.uniform(np.log(smallest), np.log(largest))))
    scale = size / float(label.box[3] - label.box[1])
    placed = _placement(label, scale, side, rng, whole=crowd == 1 and scale * FACE_PX > side)
    there = moved(label, placed)
    if any(covered_share(there.box, old) > MOST_COVERED for old in [f.box for f in found] + ignored):
        return canvas
    visible = visible_share(there.box, side)
    if visible < LEAST_VISIBLE or size < LEAST_FACE_PX:
        ignored.append(there.box)
    else:
        found.append(there)
    mask = _outline(rng, label)
    return _warp_onto(canvas, face, mask, placed=placed, scale=scale, rng=rng)


def _placement(label: Label, scale: float, side: int, rng: Generator, *, whole: bool) -> Affine:
    """Crop to canvas. ``whole``: the crop, larger than the canvas, fills it; else the face is anywhere, turned."""
    centre = (label.box[:2] + label.box[2:]) / 2
    tilt = float(np.clip(rng.normal(0, TILT_DEG), -MOST_TILT_DEG, MOST_TILT_DEG))
    angle = 0.0 if whole and rng.random() < 0.5 else tilt
    turn = cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), angle, scale)
    matrix: Affine = np.asarray(turn, np.float64)
    matrix[0, :2] *= rng.uniform(0.88, 1.12)
    if whole:
        room = scale * FACE_PX - side
        matrix[:, 2] = -rng.uniform(0, room, 2)
        return matrix
    margin = 0.1 * side
    goal = rng.uniform(margin, side - margin, 2) if rng.random() < 0.9 else rng.uniform(0, side, 2)
    matrix[:, 2] = goal - matrix[:, :2] @ centre
    return matrix


def _warp_onto(
    canvas: FloatImage, patch: FloatImage, mask: Mask, *, placed: Affine, scale: float, rng: Generator
) -> FloatImage:
    """A copy of the canvas with the relit patch blended in; shrunk by area first, since warping alone would alias."""
    matrix = placed.copy()
    if scale < 0.75:
        small = max(8, round(FACE_PX * scale))
        patch = as_floats(cv2.resize(patch, (small, small), interpolation=cv2.INTER_AREA))
        mask = as_floats(cv2.resize(mask, (small, small), interpolation=cv2.INTER_AREA))
        factor = FACE_PX / small
        matrix[:, 2] += matrix[:, :2] @ np.full(2, 0.5 * factor - 0.5)
        matrix[:, :2] *= factor
    shape = canvas.shape[1], canvas.shape[0]
    warped = cv2.warpAffine(
        _relight(patch, rng), matrix, shape, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    share = cv2.warpAffine(mask, matrix, shape, flags=cv2.INTER_LINEAR)[:, :, None]
    return np.asarray(canvas + (warped - canvas) * share, np.float32)


def _outline(rng: Generator, label: Label) -> Mask:
    """How a crop is cut out: square with hard or soft edges, or an oval around the head."""
    mask: Mask = np.zeros((OUTLINE_PX, OUTLINE_PX), np.float32)
    kind = rng.random()
    if kind < 0.3:
        mask[:] = 1
    elif kind < 0.5:
        edge = int(rng.integers(2, 15))
        mask[edge:-edge, edge:-edge] = 1
        mask = as_floats(cv2.GaussianBlur(mask, (0, 0), edge / 3))
    else:
        x0, y0, x1, y1 = (float(v) * OUTLINE_PX / FACE_PX for v in label.box)
        grow = rng.uniform(1.0, 1.5, 2)
        centre = (round((x0 + x1) / 2), round((y0 + y1) / 2 - 0.06 * (y1 - y0)))
        axes = (round((x1 - x0) / 2 * grow[0]), round((y1 - y0) / 2 * grow[1]))
        cv2.ellipse(mask, centre, axes, 0, 0, 360, 1.0, -1)
        mask = as_floats(cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.4, 4)))
    return as_floats(cv2.resize(mask, (FACE_PX, FACE_PX), interpolation=cv2.INTER_LINEAR))


def _paste_distractor(canvas: FloatImage, material: Material, rng: Generator) -> FloatImage:
    """The canvas with something that is cut out like a face and is none."""
    index = int(rng.choice(list(material.labels)))
    label, face = material.labels[index], material.faces[index]
    kind = rng.random()
    if kind < 0.35:
        patch = _jumble(face, rng)
    elif kind < 0.6:
        patch = _skin(face, label, rng)
    else:
        patch = as_floats(cv2.resize(background(rng, TEXTURE_PX, material.pictures), (FACE_PX, FACE_PX)))
    size = float(np.exp(rng.uniform(np.log(20), np.log(canvas.shape[0]))))
    scale = size / float(label.box[3] - label.box[1])
    placed = _placement(label, scale, canvas.shape[0], rng, whole=False)
    return _warp_onto(canvas, patch, _outline(rng, label), placed=placed, scale=scale, rng=rng)


def _jumble(face: FloatImage, rng: Generator) -> FloatImage:
    """The face cut into squares that are shuffled and turned: all of its textures, none of its order."""
    cells = int(rng.choice([4, 5, 6, 8]))
    edge = FACE_PX // cells
    tiles = [face[y * edge : (y + 1) * edge, x * edge : (x + 1) * edge] for y in range(cells) for x in range(cells)]
    order = rng.permutation(len(tiles))
    turned = [np.rot90(tiles[i], int(rng.integers(1, 4))) for i in order]
    rows = [np.concatenate(turned[y * cells : (y + 1) * cells], axis=1) for y in range(cells)]
    return as_floats(cv2.resize(np.concatenate(rows, axis=0), (FACE_PX, FACE_PX)))


def _skin(face: FloatImage, label: Label, rng: Generator) -> FloatImage:
    """A part of the face too small to be one (a cheek, one eye, the mouth), or of what is beside it, enlarged."""
    part = int(rng.integers(50, 110))
    if rng.random() < 0.6:
        x0, y0, x1, y1 = (int(v) for v in label.box)
        x = int(rng.integers(max(0, x0), max(1, x1 - part)))
        y = int(rng.integers(max(0, y0), max(1, y1 - part)))
    else:
        part = 100
        x, y = int(rng.choice([0, FACE_PX - part])), int(rng.choice([0, FACE_PX - part]))
    x, y = min(x, FACE_PX - part), min(y, FACE_PX - part)
    taken = face[y : y + part, x : x + part]
    return as_floats(cv2.resize(taken, (FACE_PX, FACE_PX), interpolation=cv2.INTER_LINEAR))


def _relight(patch: FloatImage, rng: Generator) -> FloatImage:
    gain, gamma, lift = rng.uniform(0.55, 1.25), rng.uniform(0.65, 1.5), rng.uniform(-0.08, 0.12)
    lit = np.clip(patch, 0, 1) ** np.float32(gamma) * np.float32(gain) + np.float32(lift)
    return as_floats(np.clip(lit, 0, 1))


def _targets(found: list[Label], ignored: list[NDArray[np.float32]]) -> Targets:
    boxes = np.array([f.box for f in found], np.float32).reshape(-1, 4)
    points = np.array([f.landmarks.reshape(-1) for f in found], np.float32).reshape(-1, 10)
    unclear = np.array(ignored, np.float32).reshape(-1, 4)
    return Targets(boxes=torch.from_numpy(boxes), landmarks=torch.from_numpy(points), ignored=torch.from_numpy(unclear))
