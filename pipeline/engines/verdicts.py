"""What was measured on this machine, kept on the disk, so that a process need not measure it again.

One small file for each measurement, by everything that it depends on; a damaged or missing one is measured again.
"""

from __future__ import annotations

import contextlib
import functools
import json
import platform
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from pipeline.engines.exported import key

#: Where Linux tells what processor this is and what it can do.
CPU_FILE = Path("/proc/cpuinfo")


class Verdicts:
    """Numbers by what they depend on: in memory, and in a folder where there is one."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._known: dict[str, float] = {}

    def measured(
        self,
        words: Mapping[str, object],
        measure: Callable[[], float],
        *,
        is_sure: Callable[[float], bool] = lambda _: True,
    ) -> float:
        """The number for these facts, measured if nobody did on a machine like this; kept for others if it is sure."""
        name = key(words)
        if name not in self._known:
            stored = self._read(name)
            self._known[name] = measure() if stored is None else stored
            if stored is None and is_sure(self._known[name]):
                self._write(name, words, self._known[name])
        return self._known[name]

    def _read(self, name: str) -> float | None:
        if self._folder is None:
            return None
        try:
            return float(json.loads((self._folder / f"{name}.json").read_text())["value"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _write(self, name: str, words: Mapping[str, object], value: float) -> None:
        # A measurement that cannot be kept is made again next time.
        with contextlib.suppress(OSError):
            if self._folder is None:
                return
            self._folder.mkdir(parents=True, exist_ok=True)
            text = json.dumps({"value": value, "of": dict(words)}, default=str)
            with tempfile.NamedTemporaryFile("w", dir=self._folder, prefix=".new-", delete=False) as file:
                file.write(text)
            Path(file.name).replace(self._folder / f"{name}.json")


def machine(device: torch.device) -> dict[str, object]:
    """What measurements on this device depend on, beside the network."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {"processor": _processor(), "gpu": gpu, "threads": torch.get_num_threads(), "torch": torch.__version__}


@functools.lru_cache(maxsize=1)
def _processor() -> str:
    try:
        lines = CPU_FILE.read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    told = {name.strip(): value for name, _, value in (line.partition(":") for line in lines)}
    return key({name: told.get(name, "") for name in ("model name", "flags", "Features")})
