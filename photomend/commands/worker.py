"""``photomend worker``: the processes that restore pictures."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from photomend import exits

if TYPE_CHECKING:
    from worker.processes import Plan
    from worker.settings import WorkerSettings


def worker(
    device: Annotated[
        str, typer.Option(help="auto = every GPU, or the CPU where there is none; cpu; or one GPU as cuda:N.")
    ] = "auto",
    gpus: Annotated[
        str | None,
        typer.Option(
            help="One process for each of these: all, numbers as nvidia-smi has them (0,2; of a slice 0:1), or UUIDs."
        ),
    ] = None,
    cpu: Annotated[
        int | None, typer.Option("--cpu", "--processes", min=1, help="So many processes on the CPU.")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=256,
            help="Jobs at a time of each process.  [default: PHOTOMEND_THREADS, else as many as keep its device busy: "
            "8 to 16 on a GPU, 3 to 6 without]",
            show_default=False,
        ),
    ] = None,
    *,
    self_test: Annotated[
        bool,
        typer.Option(
            "--self-test",
            help="Take no jobs; try what they would need, and exit: 0 = all works. Weights by hash, a canary picture "
            "through every engine and precision on each device, the sandbox, Redis, S3.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --self-test: print JSON.")] = False,
) -> None:
    """Take jobs from the queues and restore their pictures.

    The first Ctrl-C or SIGTERM finishes what fits into PHOTOMEND_DRAIN_S and gives the rest back; the second hurries.

    Examples:
      photomend worker --gpus 0,1

      photomend worker --gpus all --self-test
    """
    from jobs import logs
    from worker.memory import available_mb
    from worker.processes import available_cores, plan_processes
    from worker.settings import WorkerSettings
    from worker.supervisor import supervise

    chosen = _gpus(device, gpus, cpu)
    settings = WorkerSettings()
    if threads is None and "threads" in settings.model_fields_set:
        threads = settings.threads
    plans = plan_processes(
        gpus=chosen, cpu=cpu or 1, threads=threads, cores=available_cores(), memory_mb=available_mb()
    )
    logs.configure(service="worker-supervisor")
    if self_test:
        raise typer.Exit(0 if _self_test(plans, settings, as_json=as_json) else exits.FAILED)
    raise typer.Exit(supervise(plans, app="worker.app:app", settings=settings))


def _self_test(plans: Sequence[Plan], settings: WorkerSettings, *, as_json: bool) -> bool:
    """Whether processes of these plans could work."""
    from jobs import checks
    from jobs.s3_probe import probe
    from jobs.store import JobStore
    from photomend.checklist import show
    from worker.selftest import self_test

    store = JobStore.connect(settings)
    try:
        everything = (
            checks.of_settings(settings, signs_callbacks=False),
            checks.of_store(store, settings),
            probe(settings),
            self_test(plans),
        )
        return show(itertools.chain.from_iterable(everything), as_json=as_json)
    finally:
        store.close()


def _gpus(device: str, gpus: str | None, cpu: int | None) -> tuple[str, ...]:
    """Which GPUs, or slices of them, get a process; none = the CPU."""
    from worker import devices
    from worker.settings import visible_gpus

    if sum((gpus is not None, cpu is not None, device != "auto")) > 1 and not (device == "cpu" and gpus is None):
        raise typer.BadParameter("give one of --device, --gpus and --cpu")
    if cpu is not None or device == "cpu":
        return ()
    installed = devices.installed()
    if gpus not in {None, "all"}:
        try:
            return devices.named(gpus or "", installed)
        except devices.UnknownGpu as error:
            raise typer.BadParameter(str(error), param_hint="--gpus") from error
    found = devices.visible(visible_gpus(), installed)
    if gpus == "all" and not found:
        raise typer.BadParameter("no GPU was found on this machine (nvidia-smi -L names none)", param_hint="--gpus")
    return found if device == "auto" else (_numbered(device, found),)


def _numbered(device: str, found: tuple[str, ...]) -> str:
    kind, _, number = device.partition(":")
    if kind != "cuda" or not (number or "0").isdecimal():
        raise typer.BadParameter("auto, cpu or cuda:N", param_hint="--device")
    if int(number or 0) >= len(found):
        raise typer.BadParameter(f"{len(found)} GPUs were found on this machine", param_hint="--device")
    return found[int(number or 0)]
