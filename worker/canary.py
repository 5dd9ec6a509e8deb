"""What one worker process could do here: ``python -m worker.canary`` tries it all and prints a line of JSON for each.

With the settings and in the environment of a worker process, and in a process of its own: what kills it is told of by
whoever started it (``worker.selftest``).
"""

from __future__ import annotations

import functools
import json
import math
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from jobs import logs
from jobs.checks import Check, failed, ok, skipped, warning
from jobs.kinds import Kind
from jobs.options import JobOptions
from pipeline import vips
from pipeline.device import describe, pick
from pipeline.engines.choice import Engines
from pipeline.errors import PipelineError, WeightsError
from pipeline.shelf import Shelf
from pipeline.trial import agrees_with_the_cpu, fresh, present
from pipeline.types import compute_here
from pipeline.weights import WeightStore
from worker.loading import load_engine
from worker.sandbox.client import Sandbox, sandbox_bounds
from worker.settings import WorkerSettings

#: Side of the picture that goes through everything (px): an aligned face's.
PICTURE_PX = 512
#: How well (dB) a GPU must agree with the CPU, both in float32 by torch: sums in another order cost a millionth, which
#: is 120 dB; a GPU that computes wrongly is far below this, and so would be its every reduced precision.
FITNESS_PSNR = 60.0


def checks(settings: WorkerSettings) -> Iterator[Check]:
    """Everything that a process with these settings needs, the cheapest first."""
    try:
        yield _device(settings)
    # A border: a driver that does not fit torch raises what it likes.
    except (PipelineError, RuntimeError) as err:
        yield failed("device", str(err), "look at nvidia-smi and the driver; `--cpu 1` does without a GPU")
        return
    sandbox = Sandbox(sandbox_bounds(settings), required=settings.sandbox_required)
    try:
        yield _sandbox(settings, sandbox)
        yield from _networks(settings, sandbox)
    finally:
        sandbox.close()


def _device(settings: WorkerSettings) -> Check:
    words = describe(settings.device)
    memory = f", {words['memory_mb']} MB, compute capability {words['capability']}" if "memory_mb" in words else ""
    return ok("device", f"{words['name']}{memory}")


def _sandbox(settings: WorkerSettings, sandbox: Sandbox) -> Check:
    try:
        protections = sandbox.start()
    except PipelineError as err:
        return failed("sandbox", str(err), "allow seccomp and Landlock, in containers too; see the runbook")
    if protections.are_complete:
        return ok("sandbox", "decoders are locked in by seccomp and Landlock")
    lacking = " and ".join(name for name in ("seccomp", "landlock") if not getattr(protections, name))
    return warning("sandbox", f"without {lacking}: decoders have limits only", "allow both; see the runbook")


def _networks(settings: WorkerSettings, sandbox: Sandbox) -> Iterator[Check]:
    try:
        store = WeightStore(settings.weights_dir, allow_preview=settings.allow_preview)
        shelf = Shelf(store, pick(settings.device))
        engines = Engines.choose(shelf.device, wish=settings.engine, cache=settings.cache_dir)
    except PipelineError as err:
        yield failed("engines", str(err), "correct PHOTOMEND_ENGINE or the weights folder")
        return
    sound = []
    for one in store.entries():
        if store.is_present(one.name):
            found = _weights(store, one.name)
            sound += [one.name] if found.advice == "" else []
            yield found
    for name in present(shelf):
        if name in sound:
            yield from _ways(shelf, store, engines, name)
    yield _whole(settings, sandbox)


def _weights(store: WeightStore, name: str) -> Check:
    try:
        return ok(f"weights.{name}", f"SHA-256 {store.verify(name)}")
    except WeightsError as err:
        return failed(f"weights.{name}", str(err), f"`photomend models fetch {name}`")


def _ways(shelf: Shelf, store: WeightStore, engines: Engines, name: str) -> Iterator[Check]:
    """The canary through one network, in each way that a job may have it run."""
    try:
        for way, agrees_db, needs_db in fresh(shelf, engines, name):
            agrees = "exactly" if agrees_db == math.inf else f"by {agrees_db:.0f} dB, {needs_db:.0f} are needed"
            said, check = f"{way} agrees with torch in float32 {agrees}", f"canary.{name}"
            yield ok(check, said) if agrees_db >= needs_db else failed(check, said, _UNFIT)
        yield _fit(shelf, store, name)
    # A border: whatever stops a network here stops jobs.
    except (PipelineError, RuntimeError) as err:
        yield failed(f"canary.{name}", f"{type(err).__name__}: {err}", _UNFIT)


_UNFIT = "take this GPU out (nvidia-smi -q; the kernel log's Xid); without one PHOTOMEND_ENGINE=torch"


def _fit(shelf: Shelf, store: WeightStore, name: str) -> Check:
    check = f"fitness.{name}"
    if shelf.device.type == "cpu":
        return skipped(check, "the CPU is its own measure")
    agrees_db = agrees_with_the_cpu(shelf, store, name)
    said = f"agrees with the CPU by {agrees_db:.0f} dB, {FITNESS_PSNR:.0f} are needed"
    return ok(check, said) if agrees_db >= FITNESS_PSNR else failed(check, said, _UNFIT)


def _whole(settings: WorkerSettings, sandbox: Sandbox) -> Check:
    """One picture from its file to its result, as a job that names nothing has it."""
    try:
        engine = load_engine(settings, sandbox)
        options = JobOptions(aligned=True, scale=1.0)
        engine.require(Kind.RESTORE, options)
        outcome = engine.run(Kind.RESTORE, canary_file(), options, on_progress=lambda *_: None, compute=compute_here)
    except (PipelineError, RuntimeError) as err:
        return failed("restoration", str(err), "see the lines above; `photomend models fetch` gets weights")
    faults = [face["reason"] for face in outcome.faces if face.get("status") != "restored"]
    if not outcome.faces or faults:
        return failed("restoration", f"the canary's face was not restored: {faults}", _UNFIT)
    return ok("restoration", f"from file to file by {outcome.model['name']} in {sum(outcome.seconds.values()):.1f} s")


@functools.cache
def canary_file() -> bytes:
    """A PNG file with tones and grain, the same each time."""
    ramp = np.linspace(40, 215, PICTURE_PX)
    grain = np.random.default_rng(1).normal(0, 12, (PICTURE_PX, PICTURE_PX, 3))
    pixels = np.clip(ramp[:, None, None] * 0.5 + ramp[None, :, None] * 0.5 + grain, 0, 255).astype(np.uint8)
    return bytes(vips.save(vips.picture(pixels, "srgb"), "png", compression=1))


def main() -> int:
    """Print what is found; 1 where something failed."""
    logs.configure(service="canary")
    status = 0
    for check in checks(WorkerSettings()):
        words: dict[str, Any] = check.words()
        status = max(status, int(check.verdict == "failed"))
        sys.stdout.write(json.dumps(words) + "\n")
        sys.stdout.flush()
    return status


if __name__ == "__main__":
    sys.exit(main())
