"""A tiny data folder of drawn pictures in the place of faces: sizes and names as the real one has, no people."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from pipeline.training.faces import FACE_PX, Faces
from pipeline.training.placement import Label
from pipeline.training.scenes import Material
from pipeline.training.textures import drawn


@pytest.fixture(scope="session")
def faces_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faces")
    for number in range(3):
        picture = (drawn(np.random.default_rng(number), FACE_PX) * 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"drawn_{number}.jpg"), picture)
    return folder


@pytest.fixture(scope="session")
def faces(faces_folder: Path) -> Faces:
    return Faces(faces_folder)


@pytest.fixture
def vgg_tensors() -> dict[str, torch.Tensor]:
    """Random numbers in the shapes of the published VGG layers, scaled to keep activations in size."""
    shapes = {0: (3, 3, 1), 2: (64, 3, 3), 5: (64, 64, 3), 9: (128, 64, 3), 12: (128, 128, 3), 16: (256, 128, 3)}
    tensors = {}
    for index, (out, into, side) in shapes.items():
        tensors[f"{index}.weight"] = torch.randn(out, into, side, side) * (2 / (into * side * side)) ** 0.5
        tensors[f"{index}.bias"] = torch.randn(out) * 0.1
    return tensors


@pytest.fixture(scope="session")
def material(faces: Faces) -> Material:
    landmarks = np.array([[192, 240], [319, 240], [256, 314], [201, 371], [313, 371]], np.float32)
    label = Label(box=np.array([120, 88, 400, 472], np.float32), landmarks=landmarks)
    picture = (drawn(np.random.default_rng(9), 300) * 255).astype(np.uint8)
    return Material(faces=faces, labels=dict.fromkeys(range(len(faces)), label), pictures=(picture,))


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    return tmp_path / "run"
