"""Restoring, parsing and enlarging around a network: what is refused, what is retried, what is the same by tiles."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from pipeline.arch import networks, upsamplers
from pipeline.arch.networks import Network
from pipeline.errors import BadNetworkOutput, OutOfMemory
from pipeline.parse import FaceParser, soft_mask
from pipeline.resize import resize
from pipeline.restore import FaceRestorer
from pipeline.tone import in_lightness_only, is_toned
from pipeline.types import compute_here
from pipeline.upsample import BackgroundUpsampler, default_tile_px
from tests.unit.pipeline.canvases import enlarged

CPU = torch.device("cpu")


def picture(height, width, seed=0):
    """Soft shapes with some grain, in [0.1, 0.9]."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((max(2, height // 16), max(2, width // 16), 3), dtype=np.float32)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth * 0.7 + 0.15 + rng.normal(0, 0.01, smooth.shape), 0.1, 0.9).astype(np.float32)


class Does(nn.Module):
    """A network that does what it is told with its input."""

    def __init__(self, what):
        super().__init__()
        self.what, self.calls = what, []

    def forward(self, x):
        self.calls.append(tuple(x.shape))
        return self.what(x)


def in_turn(*functions):
    """A different function at each call."""
    left = list(functions)

    def call(x):
        return left.pop(0)(x)

    return call


def restored(what, *crops, **more):
    network = Network(module=Does(what), architecture="test", signed=True)
    return FaceRestorer(lambda: network, CPU)(crops, compute=compute_here, **more)


def test_a_restored_face_comes_back_in_place():
    crops = picture(512, 512, 1), picture(512, 512, 2)
    first, second = restored(lambda x: x, *crops)
    assert np.abs(first.image - crops[0]).max() < 1e-6
    assert np.abs(second.image - crops[1]).max() < 1e-6


def test_two_passes_restore_the_restored():
    crop = picture(512, 512)
    (twice,) = restored(lambda x: x * 0.5, crop, passes=2)
    assert np.abs(twice.image - (0.5 + (crop - 0.5) / 4)).max() < 1e-5


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        (lambda x: x * float("nan"), "not finite"),
        (lambda x: x / 0, "not finite"),
        (lambda x: torch.full_like(x, -1), "flat"),
        (lambda x: -torch.ones_like(x) + 0.2 * torch.randn_like(x), "away from its input"),
        (lambda x: x[:, :, :256], "gave"),
    ],
    ids=["nan", "infinite", "black", "nearly black", "half the size"],
)
def test_what_cannot_be_a_face_is_refused_and_the_others_kept(what, reason):
    good = picture(512, 512, 3)
    refused, kept = restored(in_turn(what, lambda x: x), picture(512, 512, 4), good)
    assert refused.image is None
    assert reason in refused.fault
    assert np.abs(kept.image - good).max() < 1e-6


def test_a_bright_picture_of_snow_is_not_called_flat():
    snow = np.full((512, 512, 3), 0.97, np.float32)
    (result,) = restored(lambda x: x, snow)
    assert result.fault is None


def test_a_fault_of_the_program_is_not_taken_for_a_bad_face():
    def broken(_):
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        restored(broken, picture(512, 512))


def test_a_face_that_does_not_fit_is_out_of_memory():
    def hungry(_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(OutOfMemory):
        restored(hungry, picture(512, 512))


def test_masks_follow_the_classes_in_order():
    left = np.zeros((512, 512), np.uint8)
    left[100:400, 100:250] = 1
    right = np.fliplr(left).copy()
    answers = iter([left, right])

    def classes(_):
        one = torch.from_numpy(next(answers)).long()
        return nn.functional.one_hot(one, 19).permute(2, 0, 1)[None].float()

    network = Network(module=Does(classes), architecture="test")
    parsed = FaceParser(lambda: network, CPU)([picture(512, 512)] * 2, compute=compute_here)
    masks = [one.mask for one in parsed]
    assert np.array_equal(masks[0], soft_mask(left))
    assert np.array_equal(masks[1], soft_mask(right))
    assert masks[0][250, 180] > 0.9
    assert masks[0][250, 400] == 0


def upsampler(what, *, scale=2, receptive_px=0, multiple_px=1):
    module = Does(what)
    network = Network(
        module=module, architecture="test", scale=scale, receptive_px=receptive_px, multiple_px=multiple_px
    )
    return BackgroundUpsampler(lambda: network, CPU), module


def nearest(x):
    return nn.functional.interpolate(x, scale_factor=2)


@pytest.mark.parametrize("shape", [(150, 201), (64, 64), (33, 1), (1, 1)])
def test_a_seeded_srvgg_by_tiles_is_the_same_as_at_once(shape):
    module = upsamplers.build_srvgg(scale=2, features=8, convolutions=6)
    network = networks.build("srvgg", module.state_dict(), name="seeded")
    image, size = picture(*shape), (shape[1] * 2, shape[0] * 2)
    enlarge = BackgroundUpsampler(lambda: network, CPU)
    at_once, _ = enlarged(enlarge, image, size, tile_px=2048)
    by_tiles, tile_px = enlarged(enlarge, image, size, tile_px=48)
    assert tile_px == 48
    assert at_once.shape == (*size[::-1], 3)
    assert np.abs(by_tiles - at_once).max() < 1 / 255 / 50


@pytest.mark.parametrize("scale", [2, 4])
def test_a_seeded_rrdb_by_tiles_is_the_same_within_a_level(scale):
    """Its view is wider than the overlap; what lies beyond moves nothing that 8 bits can hold."""
    module = upsamplers.build_rrdb(scale=scale, features=8, blocks=4, growth=4)
    state = {k: v * 3 if "rdb" in k and v.ndim == 4 else v for k, v in module.state_dict().items()}
    network = networks.build("rrdb", state, name="seeded")
    assert network.receptive_px > 48
    image = picture(131, 75)
    scaled = Network(
        module=Does(lambda x: nn.functional.interpolate(x, scale_factor=scale) + 0.5 * network.module(x)),
        architecture="rrdb", scale=scale, receptive_px=network.receptive_px, multiple_px=network.multiple_px,
    )  # fmt: skip
    enlarge = BackgroundUpsampler(lambda: scaled, CPU)
    size = (75 * scale, 131 * scale)
    at_once, _ = enlarged(enlarge, image, size, tile_px=2048)
    by_tiles, _ = enlarged(enlarge, image, size, tile_px=64)
    assert len(scaled.module.calls) == 1 + 6
    assert np.abs(by_tiles - at_once).max() < 1 / 255


@pytest.mark.parametrize("factor", [1, 1.5, 2, 3])
def test_any_final_size_comes_from_the_networks(factor):
    image = cv2.GaussianBlur(picture(60, 90), (0, 0), 3)
    size = round(90 * factor), round(60 * factor)
    enlarge, _ = upsampler(
        lambda x: nn.functional.interpolate(x, scale_factor=4, mode="bilinear"), scale=4, receptive_px=8
    )
    result, _ = enlarged(enlarge, image, size, tile_px=32)
    assert result.shape == (*size[::-1], 3)
    assert np.abs(result - np.clip(resize(image, *size), 0, 1)).max() < 0.03


def test_when_memory_is_short_the_tile_halves_and_is_remembered():
    def up_to_100(x):
        if x.shape[-1] > 100:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return nearest(x)

    enlarge, module = upsampler(up_to_100)
    image = picture(300, 300)
    result, tile_px = enlarged(enlarge, image, (600, 600))
    assert tile_px == 128
    assert max(shape[-1] for shape in module.calls) > 100  # the fault struck
    assert np.abs(result - np.repeat(np.repeat(image, 2, 0), 2, 1)).max() < 1e-6
    module.calls.clear()
    enlarged(enlarge, image, (600, 600))
    assert max(shape[-1] for shape in module.calls) <= 100


def test_tiles_begin_larger_where_memory_allows_it():
    sizes = {}
    for architecture, scale in (("srvgg", 4), ("rrdb", 2), ("rrdb", 4)):
        network = Network(module=nn.Identity(), architecture=architecture, scale=scale)
        sizes[architecture, scale] = (
            default_tile_px(network, CPU), default_tile_px(network, torch.device("cuda"))
        )  # fmt: skip
    # What RRDBNet holds at the final size is a gigabyte at most; a GPU says itself when its memory ends.
    assert sizes == {("srvgg", 4): (512, 512), ("rrdb", 2): (512, 512), ("rrdb", 4): (256, 512)}


def test_when_even_the_smallest_tile_is_too_much_it_is_said():
    def never(_):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    with pytest.raises(OutOfMemory, match="64 px"):
        enlarged(upsampler(never)[0], picture(100, 100), (200, 200))


@pytest.mark.parametrize(
    "bad",
    [lambda x: nearest(x) * float("nan"), lambda x: nearest(x) * 0, lambda x: x],
    ids=["nan", "black", "size"],
)
def test_one_bad_tile_fails_the_picture_instead_of_being_pasted(bad):
    count = iter(range(100))
    enlarge, _ = upsampler(lambda x: bad(x) if next(count) == 2 else nearest(x))
    with pytest.raises(BadNetworkOutput):
        enlarged(enlarge, picture(100, 100), (200, 200), tile_px=50)


def test_black_and_transparent_looking_areas_pass():
    black = np.zeros((64, 64, 3), np.float32)
    result, _ = enlarged(upsampler(nearest)[0], black, (128, 128))
    assert result.max() == 0


def sepia(luma):
    """A sepia print: tone depends on lightness only."""
    return np.stack([luma * 0.95 + 0.05, luma * 0.85 + 0.04, luma * 0.65 + 0.03], axis=-1).astype(np.float32)


def test_grey_and_sepia_are_toned_and_colours_are_not():
    luma = picture(200, 300)[:, :, 0]
    grain = np.random.default_rng(0).normal(0, 0.03, (200, 300, 3)).astype(np.float32)
    assert is_toned(np.repeat(luma[:, :, None], 3, axis=2))
    assert is_toned(sepia(luma))
    assert is_toned(np.clip(sepia(luma) + grain, 0, 1))
    assert is_toned(np.zeros((1, 1, 3), np.float32))
    assert not is_toned(picture(200, 300))
    dressed = np.repeat(luma[:, :, None], 3, axis=2)
    dressed[80:150, 100:160] *= np.array([1, 0.5, 0.5], np.float32)
    assert not is_toned(dressed)


def test_lightness_alone_changes_and_the_chroma_stays():
    before, after = sepia(picture(50, 60)[:, :, 0]), picture(50, 60, 7)
    mixed = in_lightness_only(before, after)
    weights = np.array([0.299, 0.587, 0.114])
    assert np.abs(mixed @ weights - after @ weights).max() < 1e-5
    shift = mixed - before
    assert np.abs(shift - shift[:, :, :1]).max() < 1e-6
