"""Files of others that measures need, by their published names; none of them is shipped."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import WeightsCorrupt


@dataclass(frozen=True, slots=True, kw_only=True)
class Helper:
    """What one measure needs."""

    file: str = ""  #: in the weights folder
    url: str = ""  #: where its authors publish it
    sha256_start: str = ""  #: as far as it is published; torch's own names end in its first eight digits
    package: str = ""  #: to be imported
    distribution: str = ""  #: the package's name at the registry


_INCEPTION = Helper(
    file="weights-inception-2015-12-05-6726825d.pth",
    url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    sha256_start="6726825d",
    package="torch_fidelity",
    distribution="torch-fidelity",
)

#: By the measure's name.
HELPERS = {
    "vgg": Helper(
        file="vgg_normalised_conv3_1.pth",
        url="the normalised VGG-19 of Huang and Belongie, up to conv3_1, as tensors",
    ),
    "lpips": Helper(
        file="alexnet-owt-7be5be79.pth",
        url="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        sha256_start="7be5be79",
        package="lpips",
        distribution="lpips",
    ),
    "landmarks": Helper(
        file="detection_mobilenet0.25_Final.pth",
        url="`photomend models fetch retinaface-mobilenet0.25`",
        sha256_start="2979b33ffafda5d74b6948cd7a5b9a7a62f62b949cef24e95fd15d2883a65220",
    ),
    "identity": Helper(
        file="recognition_arcface_ir_se50.pth",
        url="`photomend models fetch arcface`",
        sha256_start="a035c768259b98ab1ce0e646312f48b9e1e218197a0f80ac6765e88f8b6ddf28",
    ),
    "fid": _INCEPTION,
    "kid": _INCEPTION,
}


def path(folder: Path, measure: str) -> Path:
    """The measure's file, after comparing its hash with what is published of it.

    Raises:
        WeightsCorrupt: another hash.
    """
    helper = HELPERS[measure]
    place = folder / helper.file
    if helper.sha256_start:
        with place.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if not digest.startswith(helper.sha256_start):
            raise WeightsCorrupt(f"{place} has SHA-256 {digest}; it should start with {helper.sha256_start}")
    return place
