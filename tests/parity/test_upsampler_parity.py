"""RRDBNet, SRVGG (with its denoise mix) and ParseNet behind our steps give what the upstream helpers give."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.arch import networks, upsamplers
from pipeline.compat import foreign
from pipeline.parse import BORDER_PX, FRAME_PX, soft_mask
from pipeline.shelf import MIXED, MIXED_TWIN, Shelf
from pipeline.upsample import BackgroundUpsampler
from pipeline.weights import WeightStore
from tests.parity.upstream import randomise_batch_norm
from tests.unit.pipeline.canvases import enlarged

CPU = torch.device("cpu")

#: RealESRGANer hands out 8 bits.
EIGHT_BIT = 1.0 / 255

#: Largest difference allowed, relative to the largest value: float32 sums in another order. Measured 1.5e-6.
SUMMED_OTHERWISE = 1e-5


def realesrganer(monkeypatch, module, scale, **more):
    """RealESRGANer around a ready network: its constructor loads a file, which is given from memory."""
    with foreign():
        from realesrgan import utils

    monkeypatch.setattr(utils.torch, "load", lambda path, **_: path)
    states = more.pop("states", [{"params": module.state_dict()}])
    path = states if len(states) > 1 else _Loaded(states[0])
    return utils.RealESRGANer(scale, path, model=module, tile=0, pre_pad=0, half=False, device=CPU, **more)


class _Loaded(dict):
    """A state dict where a path is expected."""

    def startswith(self, _):
        return False


def textured(height, width):
    """A picture with soft shapes and some texture, 8-bit values."""
    y, x = np.mgrid[0:height, 0:width]
    waves = 0.5 + 0.25 * np.sin(x / 5)[..., None] + 0.2 * np.cos((y / 7)[..., None] + np.arange(3))
    noise = np.random.default_rng(0).normal(0, 0.03, (height, width, 3))
    return (np.clip(waves + noise, 0, 1) * 255).round().astype(np.uint8)


class Residual(torch.nn.Module):
    """A seeded RRDBNet as a correction to plain enlarging, as training would leave it."""

    def __init__(self, network, scale):
        super().__init__()
        self.network, self.scale = network, scale
        with torch.no_grad():
            probe = network(torch.rand(1, 3, 16, 16))
        # A tenth of the picture's range, whatever the seed.
        self.gain = 0.1 / float(probe.abs().max())

    def forward(self, x):
        return torch.nn.functional.interpolate(x, scale_factor=self.scale) + self.gain * self.network(x)


@pytest.mark.parametrize(("scale", "shape"), [(2, (41, 30)), (4, (24, 31))])
def test_rrdb_gives_realesrganers_picture(monkeypatch, scale, shape):
    module = upsamplers.build_rrdb(scale=scale, features=16, blocks=2, growth=8)
    state = {key: value * 2 for key, value in module.state_dict().items()}
    network = networks.build("rrdb", state, name="seeded")
    assert network.scale == scale
    wrapped = Residual(network.module, scale).eval()
    picture = textured(*shape)
    expected, _ = realesrganer(monkeypatch, wrapped, scale).enhance(picture[:, :, ::-1], outscale=scale)
    upsampler = BackgroundUpsampler(
        lambda: networks.Network(
            module=wrapped, architecture="rrdb", scale=scale, receptive_px=34, multiple_px=network.multiple_px
        ),
        CPU,
    )
    result, _ = enlarged(upsampler, picture.astype(np.float32) / 255, (shape[1] * scale, shape[0] * scale))
    assert np.abs(result - expected[:, :, ::-1] / 255.0).max() <= 0.51 * EIGHT_BIT


@pytest.mark.shared
@pytest.mark.parametrize("denoise", [1.0, 0.5, 0.3, 0.0])
def test_the_real_srvgg_and_its_twin_give_realesrganers_picture(monkeypatch, shared_dir, tmp_path, denoise):
    store = shared_store(shared_dir, tmp_path)
    shelf = Shelf(store, CPU)
    picture = textured(48, 40)
    expected_module = upsamplers.build_srvgg()
    states = [{"params": {k: v.float() for k, v in store.load(name).items()}} for name in (MIXED, MIXED_TWIN)]
    upstream = realesrganer(monkeypatch, expected_module, 4, states=states, dni_weight=[denoise, 1 - denoise])
    expected, _ = upstream.enhance(picture[:, :, ::-1], outscale=4)
    monkeypatch.undo()
    upsampler = BackgroundUpsampler(lambda: shelf.get_mixed(denoise), CPU)
    result, _ = enlarged(upsampler, picture.astype(np.float32) / 255, (160, 192))
    assert np.abs(result - expected[:, :, ::-1] / 255.0).max() <= 0.51 * EIGHT_BIT


def shared_store(shared_dir, tmp_path):
    """The shared weights with a local.toml for the re-saved ones."""
    import hashlib

    rows = []
    for name, file in [(MIXED, "realesr-general-x4v3"), (MIXED_TWIN, "realesr-general-wdn-x4v3")]:
        source = shared_dir / "weights" / f"{file}.fromncnn-fp16.pth"
        (tmp_path / source.name).symlink_to(source)
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
        rows.append(
            f'[[local]]\nname = "{name}"\nfile = "{source.name}"\nsha256 = "{digest}"\n'
            'kind = "upsampler"\narchitecture = "srvgg"\nlabel = "half-precision copy"\n'
        )
    (tmp_path / "local.toml").write_text("\n".join(rows))
    return WeightStore(tmp_path)


def test_parsenets_scores_are_facexlibs():
    """At the published widths but an eighth of the size: the network is a stack of convolutions."""
    with foreign():
        from facexlib.parsing.parsenet import ParseNet

        theirs = ParseNet(in_size=512, out_size=512, parsing_ch=19).eval()
    randomise_batch_norm(theirs)
    ours = networks.build("parsenet", theirs.state_dict(), name="seeded").module
    picture = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        expected = theirs(picture)[0]
        assert (ours(picture) - expected).abs().max() < SUMMED_OTHERWISE * expected.abs().max()


def test_the_mask_is_facexlibs():
    import cv2

    y, x = np.mgrid[0:512, 0:512]
    labels = np.where(np.hypot(x - 256, (y - 280) * 0.8) < 150, 1, 17).astype(np.uint8)
    labels[430:, 150:360] = 14
    # facexlib's paste_faces_to_input_image, its colour map and blurs.
    colour = [0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0, 255, 0, 0, 0]
    mask = np.array(colour, np.float64)[labels]
    mask = cv2.GaussianBlur(cv2.GaussianBlur(mask, (101, 101), 11), (101, 101), 11)
    mask[:10, :] = mask[-10:, :] = mask[:, :10] = mask[:, -10:] = 0
    # The blur at a quarter of the size: measured 1.02 / 255. Near the crop's edge ours fades out, see below.
    inner = slice(BORDER_PX + FRAME_PX, -BORDER_PX - FRAME_PX)
    assert np.abs(soft_mask(labels) - mask / 255)[inner, inner].max() < 2 / 255


def test_a_mask_that_reaches_the_crop_s_edge_fades_where_facexlibs_ends_in_a_step():
    """Hair fills many crops to their edge, and facexlib's mask falls there from one to zero within a pixel."""
    everywhere = soft_mask(np.ones((512, 512), np.uint8))
    inner = slice(BORDER_PX + FRAME_PX, -BORDER_PX - FRAME_PX)
    assert everywhere[inner, inner].min() > 0.999
    assert everywhere[:BORDER_PX].max() == everywhere[:, -BORDER_PX:].max() == 0
    assert max(np.abs(np.diff(everywhere, axis=axis)).max() for axis in (0, 1)) < 0.04
