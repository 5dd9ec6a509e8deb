"""The whole service on this machine, started once for all tests that look at it from outside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from photomend.stack.local import LocalStack, Plan
from photomend.stack.ports import free_ports


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """Redis, S3, API, keeper and a worker, as ``photomend up`` starts them."""
    made = LocalStack(Plan(data_dir=tmp_path_factory.mktemp("stack"), api_port=free_ports(1)[0], threads=1))
    made.start()
    with made:
        yield made


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small portrait of somebody, as a JPEG."""
    from skimage import data

    path = tmp_path_factory.mktemp("photos") / "astronaut.jpg"
    assert cv2.imwrite(str(path), cv2.resize(data.astronaut()[:, :, ::-1], (256, 256), interpolation=cv2.INTER_AREA))
    return path
