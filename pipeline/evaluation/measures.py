"""The field's measures of restored faces, each where what it needs is present.

Of pairs of (restored, original): PSNR, SSIM, VGG distance, LPIPS, landmark distance, identity. Of single pictures:
NIQE. Of sets of pictures: FID, KID.

Convention: pictures are (H, W, 3) float32 RGB in [0, 1].
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.arch import networks
from pipeline.compat import foreign
from pipeline.errors import WeightsCorrupt
from pipeline.evaluation import helpers
from pipeline.identity import FaceRecogniser
from pipeline.training.faces import to_batch
from pipeline.training.labels import find_once, load_detector
from pipeline.training.losses import VggDistance, psnr, ssim
from pipeline.types import FloatImage, compute_here
from pipeline.weights import read_checkpoint_file, unwrap

PairMeasure = Callable[[FloatImage, FloatImage], float]
SetMeasure = Callable[[NDArray[np.float32], NDArray[np.float32]], float]

#: A face counts for landmarks from this score on.
SURE_FACE = 0.5
#: Pictures that NIQE and FID can judge have at least so many in a set, or so many pixels a side.
LEAST_SET, LEAST_NIQE_PX = 2, 192
#: KID's kernel. Source: Binkowski et al., Demystifying MMD GANs (arXiv 1801.01401), section 4.
KID_KERNEL = {
    "kid_kernel": "poly",
    "kid_kernel_poly_degree": 3,
    "kid_kernel_poly_gamma": None,
    "kid_kernel_poly_coef0": 1,
}
#: KID's subsets and their size, as torch-fidelity's defaults; no larger than the set.
KID_SUBSETS, KID_SUBSET_SIZE = 100, 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What a reader must know of a measure."""

    name: str
    title: str
    higher_is_better: bool
    of_sets: bool = False  #: one figure for all pictures, not one for each


ALL = (
    Named(name="psnr", title="PSNR dB", higher_is_better=True),
    Named(name="ssim", title="SSIM", higher_is_better=True),
    Named(name="vgg", title="VGG distance", higher_is_better=False),
    Named(name="lpips", title="LPIPS", higher_is_better=False),
    Named(name="landmarks", title="landmark error, % of eyes", higher_is_better=False),
    Named(name="identity", title="identity cosine", higher_is_better=True),
    Named(name="niqe", title="NIQE", higher_is_better=False),
    Named(name="fid", title="FID", higher_is_better=False, of_sets=True),
    Named(name="kid", title="KID", higher_is_better=False, of_sets=True),
)


class Measures:
    """The wanted measures that can be taken here; ``not_run`` says of the others why they cannot.

    Args:
        folder: where the helpers' weights lie (``helpers.HELPERS``).
        wanted: names out of ``ALL``; all when empty.

    Raises:
        WeightsCorrupt: a helper's file is damaged or another one.
    """

    def __init__(self, folder: Path, wanted: Sequence[str] = ()) -> None:
        self.not_run: dict[str, str] = {}
        self._pairs: dict[str, PairMeasure] = {}
        self._features: nn.Module | None = None
        self._wanted = [m for m in ALL if not wanted or m.name in wanted]
        for measure in self._wanted:
            reason = _why_not(measure.name, folder)
            if reason:
                self.not_run[measure.name] = reason
            elif measure.of_sets:
                self._features = self._features or _inception(helpers.path(folder, "fid"))
            else:
                self._pairs[measure.name] = _PAIR_MEASURES[measure.name](folder)

    def taken(self) -> tuple[Named, ...]:
        """The measures that are taken, in the order of ``ALL``."""
        return tuple(m for m in self._wanted if m.name not in self.not_run)

    def of_pair(self, restored: FloatImage, original: FloatImage) -> dict[str, float]:
        """The figures of one picture; NaN where one is not defined, such as landmarks where no face is found."""
        return {name: measure(restored, original) for name, measure in self._pairs.items()}

    def features(self, picture: FloatImage) -> NDArray[np.float32] | None:
        """(2048,) what FID and KID compare sets by; None where neither is taken."""
        if self._features is None:
            return None
        pixels = torch.from_numpy(np.round(picture * 255).astype(np.uint8)).permute(2, 0, 1)[None]
        with torch.inference_mode():
            return np.asarray(self._features(pixels)[0][0].numpy(), np.float32)

    def of_sets(self, restored: NDArray[np.float32], original: NDArray[np.float32]) -> dict[str, float]:
        """The figures of two sets of features, (N, 2048) each."""
        names = [m.name for m in self.taken() if m.of_sets]
        return {name: _SET_MEASURES[name](restored, original) for name in names}


def _why_not(name: str, folder: Path) -> str | None:
    helper = helpers.HELPERS.get(name)
    if helper is None:
        return None
    if helper.package and importlib.util.find_spec(helper.package) is None:
        return f"the package {helper.distribution} is missing: `pip install 'photomend[evaluate]'`"
    if helper.file and not (folder / helper.file).is_file():
        return f"weights missing: {helper.file} is not in {folder} ({helper.url})"
    return None


def _tensors(folder: Path, name: str) -> dict[str, Tensor]:
    path = helpers.path(folder, name)
    return unwrap(read_checkpoint_file(path), path.name)


def _of_tensors(measure: Callable[[Tensor, Tensor], Tensor]) -> PairMeasure:
    def taken(restored: FloatImage, original: FloatImage) -> float:
        with torch.inference_mode():
            return float(measure(to_batch([restored]), to_batch([original])))

    return taken


def _vgg(folder: Path) -> PairMeasure:
    return _of_tensors(VggDistance(_tensors(folder, "vgg")))


def _lpips(folder: Path) -> PairMeasure:
    """LPIPS 0.1 on AlexNet; the package has the linear layers, the folder torchvision's AlexNet."""
    with foreign():
        import lpips  # noqa: PLC0415  (of the `evaluate` extra)

        network = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
    tensors = _tensors(folder, "lpips")
    wanted = network.net.state_dict()
    # The package cuts torchvision's `features` into slices and keeps each layer's number.
    named = {key: tensors.get(f"features.{key.split('.', 1)[1]}") for key in wanted}
    if any(value is None or value.shape != wanted[key].shape for key, value in named.items()):
        raise WeightsCorrupt(f"{helpers.HELPERS['lpips'].file} is not torchvision's AlexNet")
    network.net.load_state_dict(named)
    return _of_tensors(lambda a, b: network(a * 2 - 1, b * 2 - 1))


def _landmarks(folder: Path) -> PairMeasure:
    """Mean distance of the five landmarks that the reference detector sees in both, in % of the eyes' distance."""
    network = load_detector(_tensors(folder, "landmarks"))

    def taken(restored: FloatImage, original: FloatImage) -> float:
        faces = [find_once(network, picture, min_score=SURE_FACE) for picture in (original, restored)]
        if not all(faces):
            return float("nan")
        truth, seen = (found[0].landmarks for found in faces)
        return float(100 * np.linalg.norm(truth - seen, axis=1).mean() / np.linalg.norm(truth[1] - truth[0]))

    return taken


def _identity(folder: Path) -> PairMeasure:
    network = networks.build("arcface", _tensors(folder, "identity"), name=helpers.HELPERS["identity"].file)
    recognise = FaceRecogniser(lambda: network.module, torch.device("cpu"))

    def taken(restored: FloatImage, original: FloatImage) -> float:
        (cosine,) = recognise([(original, restored)], compute=compute_here)
        return float("nan") if cosine is None else cosine

    return taken


def _niqe(_: Path) -> PairMeasure:
    """NIQE by basicsr, with the published parameters; of the restored picture alone."""
    with foreign():
        from basicsr.metrics.niqe import calculate_niqe  # noqa: PLC0415  (after the shims)

    def taken(restored: FloatImage, _: FloatImage) -> float:
        if min(restored.shape[:2]) < LEAST_NIQE_PX:
            return float("nan")
        levels = np.round(restored[:, :, ::-1] * 255)
        with np.errstate(all="ignore"):
            return float(calculate_niqe(levels, crop_border=0))

    return taken


_PAIR_MEASURES: dict[str, Callable[[Path], PairMeasure]] = {
    "psnr": lambda _: _of_tensors(psnr),
    "ssim": lambda _: _of_tensors(ssim),
    "vgg": _vgg,
    "lpips": _lpips,
    "landmarks": _landmarks,
    "identity": _identity,
    "niqe": _niqe,
}


def _inception(path: Path) -> nn.Module:
    """The Inception of the FID paper, by torch-fidelity; its file is read as tensors alone."""
    from torch_fidelity.feature_extractor_inceptionv3 import (  # noqa: PLC0415  (of the `evaluate` extra)
        FeatureExtractorInceptionV3,
    )

    tensors = unwrap(read_checkpoint_file(path), path.name)
    # It unpickles whatever the file holds, hence one that holds these tensors and nothing else.
    with TemporaryDirectory() as folder:
        clean = Path(folder) / path.name
        torch.save(tensors, clean)
        try:
            network: nn.Module = FeatureExtractorInceptionV3("fid", ["2048"], feature_extractor_weights_path=str(clean))
        except RuntimeError as err:
            raise WeightsCorrupt(f"{path.name} is not FID's Inception: {err}") from err
    return network


def _fid(restored: NDArray[np.float32], original: NDArray[np.float32]) -> float:
    from torch_fidelity import metric_fid  # noqa: PLC0415  (of the `evaluate` extra)

    if min(len(restored), len(original)) < LEAST_SET:
        return float("nan")
    sets = (metric_fid.fid_features_to_statistics(torch.from_numpy(f)) for f in (restored, original))
    return _first(metric_fid.fid_statistics_to_metric(*sets, verbose=False))


def _kid(restored: NDArray[np.float32], original: NDArray[np.float32]) -> float:
    from torch_fidelity import metric_kid  # noqa: PLC0415  (of the `evaluate` extra)

    size = min(len(restored), len(original), KID_SUBSET_SIZE)
    if size < LEAST_SET:
        return float("nan")
    more: dict[str, Any] = {"kid_subsets": KID_SUBSETS, "kid_subset_size": size, "rng_seed": 0, "verbose": False}
    sets = (torch.from_numpy(f) for f in (restored, original))
    return _first(metric_kid.kid_features_to_metric(*sets, **KID_KERNEL, **more))


def _first(figures: dict[str, float]) -> float:
    return float(next(iter(figures.values())))


_SET_MEASURES: dict[str, SetMeasure] = {"fid": _fid, "kid": _kid}
