"""Reduced precision is used where a canary passes, float32 takes over where it fails, and records say so.

A CPU computes bfloat16 as well, slowly, so that every way through is walked here; the faults are injected.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from pipeline.arch import gfpgan_clean, gfpgan_original, networks
from pipeline.arch.networks import Network
from pipeline.arch.retinaface import SCORE
from pipeline.blend import feathered_square
from pipeline.casting import CANARY_PSNR, Canary, Casting, sample
from pipeline.detect import detect_once
from pipeline.device import exact
from pipeline.engines.choice import Engines
from pipeline.errors import BadNetworkOutput
from pipeline.options import RestoreOptions
from pipeline.parse import FaceParser, Parsed, soft_mask
from pipeline.picture import Drawn
from pipeline.portrait import Portrait, mask_warnings, with_masks
from pipeline.precision import Precision, computing, psnr
from pipeline.restore import FaceRestorer
from pipeline.restorer import Restorer
from pipeline.shelf import Shelf
from pipeline.types import FaceStatus, compute_here
from pipeline.upsample import BackgroundUpsampler
from pipeline.weights import WeightStore
from tests.unit.pipeline.test_networks_at_work import Does, nearest, picture

CPU = torch.device("cpu")

#: Brightness that only this module's second face has, and so tells it from the first and from the canary.
BRIGHT = 0.8

#: How well (dB) seeded GFPGANs agree with themselves rounded to bfloat16. Measured 49 to 53.
SEEDED_PSNR = 45.0


def reduced():
    return torch.is_autocast_enabled("cpu")


def bright():
    return np.clip(picture(512, 512, 2) * 0.1 + BRIGHT, 0, 1)


def is_bright(x):
    """Of a signed batch of one."""
    return float(x.mean()) > 2 * BRIGHT - 1


@pytest.fixture(autouse=True)
def _bfloat16_pays(monkeypatch):
    """Whatever this machine is: which it is, is measured in test_engines.py."""
    monkeypatch.setattr("pipeline.engines.choice.gain", lambda *_: 2.0)


def engines():
    return Engines(CPU, reduced=Precision.BFLOAT16)


def casting():
    return Casting(Canary(engines()))


def restored(what, *crops, cast):
    module = Does(what)
    network = Network(module=module, architecture="test", signed=True)
    return FaceRestorer(lambda: network, CPU, cast)(crops, compute=compute_here), module


class Noting:
    """An identity that notes in which precision it ran."""

    def __init__(self):
        self.reduced = []

    def __call__(self, x):
        self.reduced.append(reduced())
        return x * 0.9


def test_a_network_whose_canary_passes_runs_reduced_and_is_tried_once():
    what, canary = Noting(), Canary(engines())
    for _ in range(2):
        cast = Casting(canary)
        ((result,), _) = restored(what, picture(512, 512), cast=cast)
        assert result.fault is None
        assert (cast.precision, cast.repeated) == (Precision.BFLOAT16, 0)
    # The canary in both, then each face reduced.
    assert what.reduced == [False, True, True, True]


@pytest.mark.parametrize(
    "spoilt",
    [lambda x: x + 0.02, lambda x: x * float("nan"), lambda x: x[:, :, 1:]],
    ids=["a few levels off", "not finite", "another size"],
)
def test_a_network_whose_canary_fails_runs_in_float32(spoilt):
    crop, cast = picture(512, 512), casting()
    ((result,), _) = restored(lambda x: spoilt(x) if reduced() else x, crop, cast=cast)
    assert np.array_equal(result.image, (crop * 2 - 1 + 1) / 2)
    assert (cast.precision, cast.repeated) == (Precision.FLOAT32, 0)


def test_a_network_that_does_not_know_the_precision_runs_in_float32():
    def picky(x):
        if reduced():
            raise RuntimeError('"upfirdn2d" not implemented for "BFloat16"')
        return x

    cast = casting()
    ((result,), _) = restored(picky, picture(512, 512), cast=cast)
    assert (result.fault, cast.precision) == (None, Precision.FLOAT32)


def test_a_fault_of_the_program_is_not_taken_for_one_of_the_precision():
    def broken(_):
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        restored(broken, picture(512, 512), cast=casting())


def test_a_face_that_reduced_precision_spoils_is_computed_again_in_float32():
    struck = []

    def spoils_bright(x):
        if reduced() and is_bright(x):
            struck.append(True)
            return x * float("nan")
        return x * 0.9

    cast = casting()
    (first, second), _ = restored(spoils_bright, picture(512, 512), bright(), cast=cast)
    assert struck
    assert first.fault is second.fault is None
    assert np.abs(second.image - (0.5 + (bright() - 0.5) * 0.9)).max() < 1e-6
    assert (cast.precision, cast.repeated) == (Precision.BFLOAT16, 1)


def test_a_face_that_float32_spoils_too_has_failed():
    cast = casting()
    spoils_bright = lambda x: x * float("nan") if is_bright(x) else x  # noqa: E731
    (first, second), _ = restored(spoils_bright, picture(512, 512), bright(), cast=cast)
    assert first.fault is None
    assert "not finite" in second.fault
    assert second.image is None
    assert cast.repeated == 1


def enlarged(what, cast):
    network = Network(module=Does(what), architecture="test", scale=2)
    image = bright()[:100, :100]
    result, _ = BackgroundUpsampler(lambda: network, CPU)(
        Drawn(image), (200, 200), compute=compute_here, tile_px=50, casting=cast
    )
    return image, result.rows(slice(0, 200))


def test_a_tile_that_reduced_precision_spoils_is_computed_again_in_float32():
    cast = casting()
    spoils_bright = lambda x: nearest(x) * (float("nan") if reduced() and float(x.mean()) > BRIGHT else 1)  # noqa: E731
    image, result = enlarged(spoils_bright, cast)
    assert cast.repeated == 4
    assert np.abs(result - np.repeat(np.repeat(image, 2, 0), 2, 1)).max() < 1e-6


def test_a_tile_that_float32_spoils_too_fails_the_picture():
    with pytest.raises(BadNetworkOutput, match="not finite"):
        enlarged(lambda x: nearest(x) * (float("nan") if float(x.mean()) > BRIGHT else 1), casting())


def classes(labels):
    one = torch.from_numpy(labels).long()
    return nn.functional.one_hot(one, 19).permute(2, 0, 1)[None].float()


def face_labels():
    labels = np.zeros((512, 512), np.uint8)
    labels[100:400, 150:360] = 1
    return labels


#: What a broken parser may say of an aligned face, and how it is named.
WRONG = {
    "not finite": (lambda: classes(face_labels()) * float("nan"), "not finite"),
    "all face": (lambda: classes(np.ones((512, 512), np.uint8)), "the same everywhere"),
    "no face": (lambda: classes(np.zeros((512, 512), np.uint8)), "the same everywhere"),
    "hardly any face": (lambda: classes(np.where(face_labels() * np.eye(512) > 0, 1, 0)), "face on 0"),
    "another size": (lambda: classes(face_labels()[:256]), "gave"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_mask_that_cannot_be_right_is_refused_with_its_reason(wrong):
    scores, reason = WRONG[wrong]
    network = Network(module=Does(lambda _: scores()), architecture="test")
    (parsed,) = FaceParser(lambda: network, CPU)([picture(512, 512)], compute=compute_here)
    assert parsed.mask is None
    assert reason in parsed.fault


def test_a_mask_that_reduced_precision_spoils_is_computed_again_in_float32():
    def spoils_bright(x):
        scores = classes(face_labels())
        return scores * float("nan") if reduced() and is_bright(x) else scores

    cast, network = casting(), Network(module=Does(spoils_bright), architecture="test")
    first, second = FaceParser(lambda: network, CPU, cast)([picture(512, 512), bright()], compute=compute_here)
    assert np.array_equal(first.mask, soft_mask(face_labels()))
    assert np.array_equal(second.mask, first.mask)
    assert cast.repeated == 1


def test_where_a_parser_is_undecided_rounding_does_not_show():
    def nearly(lead):
        scores = classes(face_labels())
        scores[:, 1, :, 256:] = scores[:, 0, :, 256:] + lead  # half of the crop: skin by a hair, or just not
        return Network(module=Does(lambda _: scores), architecture="test")

    given = [picture(512, 512)]
    above, below = (
        FaceParser(lambda lead=lead: nearly(lead), CPU)(given, compute=compute_here) for lead in (0.01, -0.01)
    )
    assert above[0].mask[250, 380] == pytest.approx(0.5, abs=0.02)
    assert np.abs(above[0].mask - below[0].mask).max() < 0.02


@pytest.fixture
def mending(tmp_path):
    """Restores a bright aligned face with a given network, where reduced precision is worth trying."""
    (tmp_path / "GFPGANv1.4.pth").touch()

    def mend(what, **options):
        shelf = Shelf(WeightStore(tmp_path), CPU)
        shelf._networks["gfpgan-1.4"] = Network(module=Does(what), architecture="gfpgan-clean")
        words = {"background": "none", "scale": 1, "aligned": True, "gray": "allow-color"}
        return Restorer(shelf, engines())(Drawn(bright()), RestoreOptions(**(words | options)))

    return mend


def test_the_record_tells_the_precision_and_each_fallback(mending):
    plain = mending(lambda x: x * 0.9)
    assert (plain.model["precision"], plain.warnings) == ("bfloat16", ())
    again = mending(lambda x: x * (float("nan") if reduced() and is_bright(x) else 0.9))
    assert [face.status for face in again.faces] == [FaceStatus.RESTORED]
    assert [notice.code for notice in again.warnings] == ["precision_fallback"]
    assert "restorer's network gave 1 result" in again.warnings[0].detail


def test_exact_is_float32_and_nothing_else(mending):
    what = Noting()
    result = mending(what, precision="exact")
    assert result.model["precision"] == "float32"
    assert what.reduced == [False]


def test_a_refused_mask_is_told_and_the_face_blended_by_a_square():
    crop = picture(512, 512)
    face = Portrait(index=3, source_to_crop=np.eye(2, 3), crop=crop, toned=False, restored=crop)
    (masked,) = with_masks([face], [Parsed(fault="the parser saw the same everywhere")])
    assert np.array_equal(masked.mask, feathered_square())
    (notice,) = mask_warnings([masked])
    assert notice.code == "mask_replaced"
    assert "face 3" in notice.detail
    assert "same everywhere" in notice.detail


@pytest.mark.parametrize("spoilt", [0, SCORE, 14], ids=["boxes", "scores", "landmarks"])
def test_a_detector_that_gives_no_numbers_is_an_error_not_a_picture_without_faces(spoilt):
    def outputs(_):
        values = torch.zeros(1, 84, 15)  # a picture of 32 x 64 px has 84 anchors
        values[0, 5, spoilt] = float("nan")
        return values

    with pytest.raises(BadNetworkOutput, match="not finite"):
        detect_once(Does(outputs), picture(32, 64), device=CPU)


class Rounded(TorchFunctionMode):
    """What bfloat16 does to a network, at float32's speed: convolutions and products of rounded values, rounded."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function not in {functional.conv2d, functional.conv_transpose2d, functional.linear}:
            return function(*args, **(kwargs or {}))
        rounded = [a.bfloat16().float() if isinstance(a, torch.Tensor) else a for a in args]
        with torch._C.DisableTorchFunction():
            return function(*rounded, **(kwargs or {})).bfloat16().float()


def agreement(module, x):
    """How well (dB) a network agrees with itself, rounded, on values in [0, 1]."""
    with exact():
        plain = module(x)
        with Rounded():
            rounded = module(x)
    return psnr(*(values.clamp(0, 1).numpy() for values in (plain, rounded)))


def test_rounding_is_what_bfloat16_does():
    layer = nn.Conv2d(3, 4, 3)
    x = torch.rand(1, 3, 9, 9)
    with computing(CPU, Precision.BFLOAT16):
        real = layer(x).float()
    with exact(), Rounded():
        assert (layer(x) - real).abs().max() < 1 / 128
    assert 40 < agreement(layer, x) < 80


@pytest.mark.parametrize(
    "build",
    [
        lambda **shape: gfpgan_clean.GFPGANv1Clean(64, **shape),
        lambda **shape: gfpgan_original.GFPGANv1(64, **shape),
        lambda **shape: gfpgan_original.GFPGANv1(64, **shape, resampling="bilinear"),
    ],
    ids=["clean", "original", "bilinear"],
)
def test_rounding_leaves_a_seeded_gfpgan_s_picture_in_place(build):
    """Whether that is good enough, each network's canary decides, with the weights that are there."""
    module = build(narrow=0.25, multiplier=2, style=64).eval()
    face = torch.from_numpy(sample(64)).permute(2, 0, 1)[None]
    assert SEEDED_PSNR < agreement(lambda x: module(x * 2 - 1) / 2 + 0.5, face) < 80


def test_the_preview_restorer_would_pass_its_canary(tmp_path):
    """Real weights: measured 86 dB; computed in real bfloat16 it agrees by 83 dB on a photo."""
    network = Shelf(WeightStore(tmp_path, allow_preview=True), CPU).get("preview")
    assert agreement(network.module, torch.from_numpy(sample(512)).permute(2, 0, 1)[None]) > CANARY_PSNR


@pytest.mark.shared
def test_the_real_srvgg_would_pass_its_canary(shared_dir):
    """Measured 58 dB; computed in real bfloat16 it agrees by 51 dB on a photo."""
    file = torch.load(shared_dir / "weights" / "realesr-general-x4v3.fromncnn-fp16.pth", weights_only=True)
    state = {key: value.float() for key, value in file.get("params", file).items()}
    module = networks.build("srvgg", state, name="real").module
    assert agreement(module, torch.from_numpy(sample(128)).permute(2, 0, 1)[None]) > CANARY_PSNR
