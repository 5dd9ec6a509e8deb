"""The GPUs of this machine, and the slices into which some are cut (MIG), as CUDA_VISIBLE_DEVICES names them.

By UUID throughout: numbers of the driver and of CUDA are in different orders, and a slice has no number of CUDA's.
Source: NVIDIA Multi-Instance GPU User Guide, "CUDA Device Enumeration".
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

#: A driver that takes longer to list its GPUs is in trouble (seconds).
LIST_S = 30.0

_GPU = re.compile(r"GPU (?P<number>\d+): (?P<name>.*?) \(UUID: (?P<uuid>\S+)\)\s*\Z")
_SLICE = re.compile(r"\s+MIG (?P<name>\S+)\s+Device\s+(?P<number>\d+): \(UUID: (?P<uuid>\S+)\)\s*\Z")


class UnknownGpu(ValueError):
    """Raised when a GPU is named that is not here, or named twice; the message says what there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """What one worker process may have: a whole GPU, or a slice of one."""

    number: str  #: as nvidia-smi counts: ``0``; of a slice ``0:1``
    uuid: str  #: ``GPU-…`` or ``MIG-…``
    name: str  #: such as ``NVIDIA A100-SXM4-40GB``, of a slice ``NVIDIA A100-SXM4-40GB MIG 1g.5gb``


def installed() -> tuple[Gpu, ...]:
    """What the driver says is here, in the order of its numbers; nothing where there is no driver."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    try:
        asked = subprocess.run(  # noqa: S603 - a fixed command without anyone's input
            [tool, "-L"], capture_output=True, text=True, timeout=LIST_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return parse(asked.stdout) if asked.returncode == 0 else ()


def parse(listing: str) -> tuple[Gpu, ...]:
    """What ``nvidia-smi -L`` lists. A GPU that is cut into slices is its slices: CUDA does not open the whole of it."""
    found: list[Gpu] = []
    whole: Gpu | None = None
    for line in listing.splitlines():
        if match := _GPU.match(line):
            whole = Gpu(**match.groupdict())
            found.append(whole)
        elif whole is not None and (match := _SLICE.match(line)):
            if found[-1] == whole:
                found.pop()
            number, name = f"{whole.number}:{match['number']}", f"{whole.name} MIG {match['name']}"
            found.append(Gpu(number=number, uuid=match["uuid"], name=name))
    return tuple(found)


def visible(said: str | None, gpus: Sequence[Gpu]) -> tuple[str, ...]:
    """The names of all GPUs and slices that a process may use; ``said``: what CUDA_VISIBLE_DEVICES is set to, if it is.

    A cut GPU that is said by its number or UUID is not what CUDA opens, so its slices take its place.
    """
    if said is None:
        return tuple(gpu.uuid for gpu in gpus)
    names = tuple(name.strip() for name in said.split(",") if name.strip() not in {"", "-1"})
    return tuple(one for name in names for one in (_slices(name, gpus) or (name,)))


def named(words: str, gpus: Sequence[Gpu]) -> tuple[str, ...]:
    """The names of the GPUs that ``words`` lists: numbers as nvidia-smi counts (``0``, ``0:1`` for a slice) or UUIDs.

    The number of a GPU that is cut into slices means all of them. Where the driver's list is not known they are passed
    on as they are.

    Raises:
        UnknownGpu: one of them is not here, or is named twice.
    """
    wanted = [word.strip() for word in words.split(",") if word.strip()]
    if not wanted:
        raise UnknownGpu("name GPUs by number or UUID, such as 0,2")
    chosen = [one for word in wanted for one in (_found(word, gpus) if gpus else (word,))]
    if len(set(chosen)) < len(chosen):
        raise UnknownGpu("a GPU is named twice; each gets one process")
    return tuple(chosen)


def _found(word: str, gpus: Sequence[Gpu]) -> tuple[str, ...]:
    if found := tuple(gpu.uuid for gpu in gpus if word in {gpu.number, gpu.uuid}) or _slices(word, gpus):
        return found
    # As CUDA takes them: the beginning of a UUID, if it is one GPU's.
    begun = tuple(gpu.uuid for gpu in gpus if len(word) > len("GPU-") and gpu.uuid.startswith(word))
    if len(begun) == 1:
        return begun
    there = ", ".join(f"{gpu.number} ({gpu.name}, {gpu.uuid})" for gpu in gpus)
    raise UnknownGpu(f"there is no GPU {word} here, or more than one; there are {there}")


def _slices(number: str, gpus: Sequence[Gpu]) -> tuple[str, ...]:
    return tuple(gpu.uuid for gpu in gpus if gpu.number.startswith(f"{number}:"))
