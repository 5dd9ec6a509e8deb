"""What the simulated jobs ask of a GPU and of the host beside it.

Seconds are ESTIMATES: nothing of this ran on a GPU. They follow from the networks' operations (detection at 1280 px
0.24 TFLOP, restoring and parsing a face 0.86, RRDB x2plus with its tiles' overlap 9.9 per input megapixel) at what a
class of GPUs may sustain on these convolutions, and from decoding, blending and encoding as measured on a CPU.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from jobs.model import Job, Priority

#: What GPUs may sustain, by class: half of their tensor cores' peak at best, a fifteenth here (plain half precision).
TFLOP_A_S = {"H100": 60.0, "A100": 30.0, "L4": 10.0, "T4": 5.0}
#: Jobs by which a mean is taken.
SAMPLES = 4000
DETECT_TFLOP, FACE_TFLOP, BACKGROUND_TFLOP_A_MP = 0.24, 0.86, 9.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One job's share of everything (seconds)."""

    fetch_s: float  #: reading and decoding
    lane_s: float  #: of the GPU, alone
    store_s: float  #: blending, encoding, writing
    megapixels: float  #: of the input
    faces: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """Which pictures come, and to which GPUs. Sizes are lognormal around a median, faces a Poisson number."""

    gpu: str = "H100"
    scan_mp: float = 6.0  #: median of a batch's scans
    photo_mp: float = 2.0  #: median of what a person waits for
    spread: float = 0.5  #: sigma of the logarithm
    faces: float = 2.0
    background: bool = True  #: Real-ESRGAN on the GPU; without, only faces are worked on there

    def of(self, job: Job, seed: int) -> Work:
        """The same job asks for the same in every attempt, and in every run with this seed."""
        chance = random.Random(f"{seed} {job.id}")
        median = self.photo_mp if job.priority is Priority.INTERACTIVE else self.scan_mp
        return self._work(min(60.0, median * chance.lognormvariate(0.0, self.spread)), _poisson(chance, self.faces))

    def mean_lane_s(self, priority: Priority) -> float:
        median = self.photo_mp if priority is Priority.INTERACTIVE else self.scan_mp
        chance = random.Random(0)

        def one() -> Work:
            return self._work(median * chance.lognormvariate(0.0, self.spread), _poisson(chance, self.faces))

        return sum(one().lane_s for _ in range(SAMPLES)) / SAMPLES

    def _work(self, megapixels: float, faces: int) -> Work:
        tflop = DETECT_TFLOP + FACE_TFLOP * faces + (BACKGROUND_TFLOP_A_MP * megapixels if self.background else 0.0)
        return Work(
            fetch_s=0.03 + 0.02 * megapixels,
            lane_s=tflop / TFLOP_A_S[self.gpu],
            store_s=0.04 + 0.04 * megapixels,
            megapixels=megapixels,
            faces=faces,
        )


def _poisson(chance: random.Random, mean: float) -> int:
    """By counting exponential waits."""
    count, at = 0, chance.expovariate(1.0)
    while at < mean:
        count += 1
        at += chance.expovariate(1.0)
    return count
