"""A tiny data folder of drawn pictures in the place of faces: sizes and names as the real one has, no people."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.training.faces import FACE_PX, Faces
from pipeline.training.scenes import Label, Material
from pipeline.training.textures import drawn


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Faces:
    folder = tmp_path_factory.mktemp("faces")
    for number in range(3):
        picture = (drawn(np.random.default_rng(number), FACE_PX) * 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"drawn_{number}.jpg"), picture)
    return Faces(folder)


@pytest.fixture(scope="session")
def material(faces: Faces) -> Material:
    landmarks = np.array([[192, 240], [319, 240], [256, 314], [201, 371], [313, 371]], np.float32)
    label = Label(box=np.array([120, 88, 400, 472], np.float32), landmarks=landmarks)
    picture = (drawn(np.random.default_rng(9), 300) * 255).astype(np.uint8)
    return Material(faces=faces, labels=dict.fromkeys(range(len(faces)), label), pictures=(picture,))


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    return tmp_path / "run"
