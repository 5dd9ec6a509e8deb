"""The upstream packages import cleanly, in a fresh interpreter with warnings as errors."""

from __future__ import annotations

import subprocess
import sys

import torch

from pipeline.compat import nms

_FRESH = """
from pipeline.compat import foreign
with foreign():
    from facexlib.detection.retinaface import RetinaFace
    from facexlib.parsing.parsenet import ParseNet
    from basicsr.archs.rrdbnet_arch import RRDBNet
    from basicsr.losses import build_loss
    from realesrgan.archs.srvgg_arch import SRVGGNetCompact
    from gfpgan.archs.gfpganv1_clean_arch import GFPGANv1Clean
    RetinaFace("resnet50", device="cpu")
import importlib.util, sys
assert "torchvision.ops" in sys.modules
assert not [name for name in sys.modules if name.startswith("torch._dynamo")], "nobody needs torch's compiler"
assert importlib.util.find_spec("torch._dynamo").origin, "it is there all the same"
"""


def test_the_upstream_packages_import_without_a_warning():
    done = subprocess.run([sys.executable, "-W", "error", "-c", _FRESH], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


_EVERY_NETWORK = """
import sys
from pipeline.arch import (
    arcface, bisenet, gfpgan_clean, gfpgan_original, networks, parsenet, preview, restoreformer, retinaface, upsamplers
)
small = {"size": 16, "narrow": 0.0625, "style": 8}
shape = restoreformer.Shape(widths=(32,) * 6, first=32, blocks=1, latent=8, code=8, codes=16)
modules = {
    "gfpgan-clean": gfpgan_clean.GFPGANv1Clean(**small),
    "gfpgan-original": gfpgan_original.GFPGANv1(**small),
    "gfpgan-bilinear": gfpgan_original.GFPGANv1(**small, resampling="bilinear"),
    "restoreformer": restoreformer.RestoreFormer(shape),
    "bisenet": bisenet.build(),
    "arcface": arcface.build(),
    "preview": preview.PreviewRestorer(),
    "parsenet": parsenet.build(base_channels=8),
    "retinaface-resnet50": retinaface.build("resnet50"),
    "retinaface-mobilenet0.25": retinaface.build("mobile0.25"),
    "rrdb": upsamplers.build_rrdb(scale=2, features=8, blocks=1, growth=4),
    "srvgg": upsamplers.build_srvgg(scale=2, features=8, convolutions=2),
}
assert modules.keys() == networks.BUILDERS.keys()
for name, module in modules.items():
    networks.build(name, module.state_dict(), name=name)
    assert "torch._dynamo" not in sys.modules, f"{name} imports torch's compiler, which takes a second"
"""


def test_no_network_imports_torch_s_compiler_when_it_is_loaded():
    done = subprocess.run([sys.executable, "-c", _EVERY_NETWORK], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


_BROKEN_OPERATORS = """
import torch
def refuse(path):
    raise OSError("libcudart.so.13: cannot open shared object file")
torch.ops.load_library = refuse
from pipeline.compat import foreign, nms
with foreign():
    import torchvision.ops
    from facexlib.detection import retinaface_utils
boxes = torch.tensor([[0., 0., 10., 10., .9], [1., 1., 11., 11., .8], [30., 30., 40., 40., .7]]).numpy()
assert torchvision.ops.nms is nms
assert [int(i) for i in retinaface_utils.py_cpu_nms(boxes, 0.4)] == [0, 2]
"""


def test_without_torchvisions_compiled_operators_facexlib_still_works():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _BROKEN_OPERATORS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_nms_keeps_the_best_of_each_cluster_best_first():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 60, 60], [0, 0, 10, 3.9]])
    scores = torch.tensor([0.6, 0.9, 0.95, 0.5])
    assert nms(boxes, scores, 0.4).tolist() == [2, 1]
    assert nms(boxes, scores, 0.5).tolist() == [2, 1, 3]


def test_nms_of_nothing_is_nothing():
    kept = nms(torch.empty(0, 4), torch.empty(0), 0.4)
    assert kept.shape == (0,)
    assert kept.dtype == torch.int64
