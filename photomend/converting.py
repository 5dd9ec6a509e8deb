"""A user's bilinear GFPGAN checkpoint as a clean one: read with care, converted, compared, then written."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.arch.networks import Network
    from pipeline.weights import WeightStore

#: How far the converted network's picture of the trial face may be from the bilinear one's, relative to its largest
#: value. The conversion is exact but for float32's rounding, which is about 3e-6.
ALLOWED_DIFFERENCE = 1e-4

#: Draws the trial face.
TRIAL_SEED = 0

BILINEAR, CLEAN = "gfpgan-bilinear", "gfpgan-clean"


class ConvertError(Exception):
    """Raised when a file cannot be converted; the message says why. Nothing was written then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """What was written."""

    sha256: str
    difference: float  #: of the two networks' pictures of a trial face, relative to the largest value


def convert(source: Path, target: Path, *, store: WeightStore) -> Converted:
    """Write the clean checkpoint for the bilinear one in ``source``.

    Raises:
        ConvertError: ``target`` exists or cannot be written, ``source`` is known to be of another architecture, or
            the two networks do not give the same picture.
        WeightsMissing, WeightsCorrupt: there is no such file, or it is no bilinear GFPGAN.
    """
    import torch

    from pipeline.arch import networks
    from pipeline.arch.conversion import bilinear_to_clean
    from pipeline.weights import read_checkpoint_file, unwrap

    if target.exists():
        raise ConvertError(f"{target} is there already; name another file")
    state = unwrap(read_checkpoint_file(source), source.name)
    _refuse_known_others(source, store)
    bilinear = networks.build(BILINEAR, state, name=source.name)
    tensors = bilinear_to_clean(state)
    difference = _difference(bilinear, networks.build(CLEAN, tensors, name=target.name))
    if difference > ALLOWED_DIFFERENCE:
        raise ConvertError(
            f"the converted network's picture is {difference:.1e} away from {source.name}'s; "
            f"{ALLOWED_DIFFERENCE:.0e} allowed. Its values may be beyond float32's reach"
        )
    part = target.with_name(f".{target.name}.part")
    try:
        torch.save({"params_ema": tensors}, part)
        digest = _sha256(part)
        part.replace(target)
    except (OSError, RuntimeError) as err:  # torch's writer raises RuntimeError where a folder is missing
        part.unlink(missing_ok=True)
        raise ConvertError(f"cannot write {target}: {err}") from err
    return Converted(sha256=digest, difference=difference)


def _refuse_known_others(source: Path, store: WeightStore) -> None:
    """The original GFPGAN has the bilinear one's very keys, so that only a known hash tells them apart."""
    digest = _sha256(source)
    for entry in store.entries():
        if entry.sha256 == digest and entry.architecture != BILINEAR:
            raise ConvertError(
                f"{source} is {entry.name}, of architecture {entry.architecture}; only {BILINEAR} can be converted"
            )


def _difference(one: Network, other: Network) -> float:
    import torch

    from pipeline.device import exact

    size = one.module.size
    face = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(TRIAL_SEED)) * 2 - 1  # type: ignore[call-overload]
    with exact():
        expected, got = one.module(face), other.module(face)
    return float((got - expected).abs().max() / expected.abs().max())


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
