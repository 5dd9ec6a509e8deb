"""The shipped preview weights do what their model card says, on faces that they were not trained on."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from pipeline.evaluation import detection, restoration, samples, subjects
from pipeline.evaluation.measures import Measures
from pipeline.training import recipe
from pipeline.training.degrade import Severity
from pipeline.training.faces import Faces
from pipeline.weights import WeightStore, preview_folder

pytestmark = [pytest.mark.shared, pytest.mark.slow, pytest.mark.timeout(240)]

#: Every seventh val face: a seventh of the published set, in a seventh of the time.
CHOSEN = range(0, 40, 7)
CPU = torch.device("cpu")


def ignore(_: str) -> None:
    pass


@pytest.fixture(scope="module")
def val(shared_dir: Path) -> Faces:
    return Faces(shared_dir / "faces" / "val")


@pytest.fixture(scope="module")
def finder():
    return recipe.read_detector(preview_folder() / recipe.DETECTOR_FILE)


@pytest.fixture(scope="module")
def real(shared_dir: Path):
    return recipe.read_detector(shared_dir / "weights" / recipe.LABELLER)


def picture(path: Path, long_side: int = 1280):
    pixels = cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    factor = min(1.0, long_side / max(pixels.shape[:2]))
    return cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def figures(val: Faces, weights: Path, severity: Severity, measures: list[str]):
    """The means of the chosen faces: {(subject, measure): mean}."""
    judged = [subjects.plain(), subjects.restorer("preview", WeightStore(weights, allow_preview=True), CPU)]
    chosen = (
        sample
        for number, sample in enumerate(samples.degraded(val, [severity], seed=samples.EVALUATION_SEED))
        if number in CHOSEN
    )
    rows, means = restoration.evaluate(judged, chosen, Measures(weights, measures), seen=lambda *_: None)
    assert len(rows) == len(judged) * len(CHOSEN)
    return {(m.subject, m.measure): m.mean for m in means}


def test_at_medium_severity_faces_are_nearer_to_the_original_by_every_measure(val, shared_dir):
    mean = figures(val, shared_dir / "weights", Severity.MEDIUM, ["psnr", "ssim", "vgg"])

    assert mean["preview", "psnr"] > mean["input", "psnr"] + 1
    assert mean["preview", "ssim"] > mean["input", "ssim"]
    assert mean["preview", "vgg"] < mean["input", "vgg"]


@pytest.mark.parametrize("severity", [Severity.LIGHT, Severity.SEVERE])
def test_light_and_severe_damage_is_not_made_worse(severity, val, shared_dir):
    mean = figures(val, shared_dir / "weights", severity, ["psnr", "ssim"])

    assert mean["preview", "psnr"] >= mean["input", "psnr"]
    assert mean["preview", "ssim"] >= mean["input", "ssim"]


def test_nearly_all_val_faces_that_the_real_detector_finds_are_found(val, finder, real):
    recall = detection.detector_recall(finder, real, detection.whole(val), protocol="whole", told=ignore)

    assert recall.there >= len(val)
    assert recall.share >= 0.95
    assert recall.landmark_error < 0.05


def test_blurred_faces_are_found_too(val, finder, real):
    some = [picture for number, picture in enumerate(detection.spoiled(val)) if number in CHOSEN]

    recall = detection.detector_recall(finder, real, some, protocol="medium", told=ignore)

    assert recall.there >= len(CHOSEN)
    assert recall.found == recall.there


def test_hardly_a_face_is_imagined_in_ten_face_free_pictures(finder, real):
    pictures = recipe.face_free_pictures()
    alarms = detection.false_alarms(finder, pictures, told=ignore)
    imagined = [score for scores in alarms.values() for score in scores]

    assert len(alarms) == 10
    assert alarms["chelsea.png"] == []
    assert 2 * len(imagined) < sum(map(len, detection.false_alarms(real, pictures, told=ignore).values()))
    assert max(imagined, default=0) < 0.7


def test_the_demo_picture_s_face_is_found(finder):
    from skimage.data import astronaut

    found = detection.find_faces(finder, astronaut().astype(np.float32) / 255)

    assert len(found) == 1
    assert found[0].box == pytest.approx((176, 67, 266, 186), abs=25)


@pytest.mark.parametrize("name", ["whole_00.jpg", "whole_10045.png", "whole_Blake_Lively.jpg"])
def test_the_large_faces_of_whole_photos_are_found(name, finder, real, shared_dir):
    photo = picture(shared_dir / "photos" / name)

    truth = [face for face in detection.find_faces(real, photo) if face.size_px > 60 and face.score > 0.9]
    answer = detection.find_faces(finder, photo)

    assert truth
    assert len(detection.matches(truth, answer)) == len(truth)


@pytest.mark.parametrize(("name", "faces"), [("group_6_faces.jpg", 6), ("group_solvay_1927_gray.jpg", 24)])
def test_a_group_s_faces_are_found_at_every_size(name, faces, finder, shared_dir):
    assert len(detection.find_faces(finder, picture(shared_dir / "photos" / name))) == faces
