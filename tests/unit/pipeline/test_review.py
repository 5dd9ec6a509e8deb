"""Who should be looked at, and why: similarity, pose, size and colour."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from pipeline import geometry
from pipeline.arch import arcface
from pipeline.identity import ARCFACE_TEMPLATE, FaceRecogniser, crop_to_arcface
from pipeline.review import COLOUR_DRIFT, colour_drift, of_place, of_result
from pipeline.types import Stage, compute_here

CPU = torch.device("cpu")


def crop(seed=0):
    """A smooth picture of one colour field over another."""
    rng = np.random.default_rng(seed)
    small = rng.random((8, 8, 3)).astype(np.float32)
    return np.kron(small, np.ones((64, 64, 1), np.float32))


class MeanColour(nn.Module):
    """A face's vector: the mean of each channel, of length one."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        assert x.shape[1:] == (3, arcface.FACE_PX, arcface.FACE_PX)
        self.seen.append(x)
        return nn.functional.normalize(x.mean(dim=(2, 3)), dim=1)


def compare(*pairs, network=None, compute=compute_here):
    network = network or MeanColour()
    return FaceRecogniser(lambda: network, CPU)(pairs, compute=compute)


def test_the_same_face_is_the_same_and_the_opposite_is_the_opposite():
    face = crop()
    assert compare((face, face), (face, 1 - face)) == (1.0, -1.0)
    assert compare() == ()


def test_what_the_network_sees_is_blue_first_and_centred():
    red = np.zeros((512, 512, 3), np.float32)
    red[:, :, 0] = 1
    network = MeanColour()
    compare((red, red), network=network)
    blue, green, seen_red = network.seen[0][0].amax(dim=(1, 2))
    assert (float(blue), float(green), float(seen_red)) == pytest.approx((-1, -1, 1), abs=1e-5)


def test_eyes_nose_and_mouth_come_to_where_arcface_has_them():
    brought = geometry.apply(crop_to_arcface(), geometry.FFHQ_TEMPLATE)
    assert np.abs(brought - ARCFACE_TEMPLATE).max() < 2.2
    assert np.abs((brought - ARCFACE_TEMPLATE).mean(axis=0)).max() < 1e-3


def test_it_runs_on_the_lane_under_a_name_of_its_own():
    stages = []

    def lane(work, *, stage, megapixels):
        stages.append(stage)
        return work()

    compare((crop(), crop(1)), compute=lane)
    assert set(stages) == {Stage.IDENTIFY}


def test_numbers_that_are_none_are_no_similarity():
    class Broken(nn.Module):
        def forward(self, x):
            return torch.full((len(x), 512), float("nan"))

    assert compare((crop(), crop()), network=Broken()) == (None,)


@pytest.mark.slow
def test_facexlibs_network_calls_a_face_more_alike_to_itself_softened_than_to_noise():
    """Untrained, but the real architecture: shapes, order and length of the vectors are its own."""
    torch.manual_seed(3)
    network = arcface.build()
    face = crop()
    soft = 0.9 * face + 0.1 * face.mean()
    noise = np.random.default_rng(1).random(face.shape).astype(np.float32)
    like, unlike, same = compare((face, soft), (face, noise), (face, face), network=network)
    assert unlike < like <= same == pytest.approx(1, abs=1e-3)


def test_a_face_is_flagged_for_each_reason_with_value_and_limit():
    assert of_place(yaw_deg=34, enlarged=8) == ()
    assert of_place(yaw_deg=None, enlarged=None) == ()
    sideways, tiny = of_place(yaw_deg=-48.2, enlarged=11.26)
    assert (sideways.code, sideways.reason) == (
        "non_frontal", "it is turned by about 48 degrees; restorers know faces up to 35",
    )  # fmt: skip
    assert (tiny.code, tiny.reason) == ("tiny", "it is enlarged 11.3 times; restorers are trained up to 8")
    assert of_result(identity=0.5, colour_drift=1) == ()
    assert of_result(identity=None, colour_drift=0) == ()
    other, drifted = of_result(identity=0.31, colour_drift=9)
    assert (other.code, other.reason) == ("identity", "its similarity to the original is 0.31, below 0.5")
    assert drifted.code == "colour"


def test_colour_drift_sees_a_cast_under_the_mask_and_nothing_else():
    before = np.full((512, 512, 3), (0.6, 0.5, 0.45), np.float32)
    mask = np.zeros((512, 512), np.float32)
    mask[100:400, 100:400] = 1
    cast = before.copy()
    cast[..., 2] += 0.12
    outside = np.where(mask[..., None] > 0, before, cast)
    assert colour_drift(before, cast, mask) > COLOUR_DRIFT
    assert colour_drift(before, outside, mask) == pytest.approx(0, abs=1e-3)
    assert colour_drift(before, before * 1.2, mask) < COLOUR_DRIFT / 2, "lighter is no cast"
    assert colour_drift(before, cast, np.zeros_like(mask)) == pytest.approx(0, abs=1e-3)
