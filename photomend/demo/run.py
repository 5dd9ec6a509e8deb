"""The demo from photo to comparison, as a customer's own program would go about it."""

from __future__ import annotations

import shutil
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from photomend.demo.errors import DemoError
from photomend.demo.receiver import CallbackReceiver, Received

if TYPE_CHECKING:
    from rich.console import Console

    from jobs.model import ObjectRef
    from photomend.client import Client, Job
    from photomend.stack.local import LocalStack

#: The callback is sent within a second of the end; more only where a first attempt fails.
CALLBACK_TIMEOUT_S = 60.0
#: Everything is compared as PNG, whatever the photo's own format.
OPTIONS: dict[str, Any] = {"format": "png", "outputs": ["image", "comparison", "provenance"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the demo ends with."""

    job: Job
    callback: Received
    input: Path
    restored: Path
    comparison: Path
    provenance: Path


def prepare(photo: Path | None, output: Path) -> tuple[bytes, Path]:
    """The bytes to submit, and the folder's ``input.png`` that shows them. Results of an earlier demo are removed.

    Raises:
        DemoError: the photo cannot be read, or the folder cannot be written.
    """
    from photomend.demo.picture import as_png, old_photo

    try:
        data = old_photo() if photo is None else photo.read_bytes()
        png = data if photo is None else as_png(data)
        output.mkdir(parents=True, exist_ok=True)
        for name in ("restored.png", "comparison.png", "provenance.json"):
            (output / name).unlink(missing_ok=True)
        _remove_old_stack(output / ".stack")
        shown = output / "input.png"
        shown.write_bytes(png)
    except OSError as err:
        raise DemoError(f"{err.strerror or err}: {err.filename}") from err
    return data, shown


def _remove_old_stack(folder: Path) -> None:
    # Only what a stack has made: the folder was named by a person.
    if (folder / "lock").exists():
        shutil.rmtree(folder)


def run(stack: LocalStack, data: bytes, shown: Path, console: Console) -> Outcome:
    """Upload, submit, follow, be called back, verify, download.

    Raises:
        DemoError: the job fails, or its callback does not come or is not genuine.
        StackError: a process of the stack has died.
        PhotomendError, JobsError: a service refuses or does not answer.
    """
    from photomend.client import Client

    settings = stack.settings
    secret = settings.callback_secret.get_secret_value() if settings.callback_secret else ""
    with ExitStack() as held:
        receiver = held.enter_context(CallbackReceiver(secret))
        client = held.enter_context(Client(stack.api_url))
        source = _upload(stack, data)
        console.print(f"[green]✓[/] Uploaded to {source.uri}", highlight=False)
        job = client.submit(
            source.uri, options=OPTIONS, callback_url=receiver.url, metadata={"submitted-by": "photomend demo"}
        )
        console.print(f"[green]✓[/] Submitted as {job.id}", highlight=False)
        job = _follow(client, job, console)
        callback = _called_back(stack, receiver, job)
        console.print(f"[green]✓[/] Callback {callback.event} came; its signature is genuine", highlight=False)
        outcome = _download(client, job, callback, shown)
        console.print("[green]✓[/] Downloaded from storage")
        return outcome


def _upload(stack: LocalStack, data: bytes) -> ObjectRef:
    from jobs.blobs import BlobStore
    from jobs.model import ObjectRef
    from pipeline import codec

    kind = codec.probe(data).format
    source = ObjectRef(bucket=stack.settings.bucket, key=f"demo/{time.time_ns()}/photo.{kind}")
    BlobStore.connect(stack.settings).put(source, data, content_type=kind.content_type)
    return source


def _follow(client: Client, job: Job, console: Console) -> Job:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("  {task.description:<11}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task(job.status, total=100)
        for event in client.stream_events(job.id):
            words = event.job.stage if event.job.status == "processing" else event.job.status
            progress.update(bar, description=words or "", completed=event.job.percent)
    job = client.get(job.id)
    if job.status != "succeeded":
        error = job.error or {"title": f"The job was {job.status}", "detail": "", "code": job.status}
        raise DemoError(f"{error['title']} {error['detail']} [{error['code']}]")
    console.print("[green]✓[/] Restored")
    return job


def _called_back(stack: LocalStack, receiver: CallbackReceiver, job: Job) -> Received:
    give_up_at = time.monotonic() + CALLBACK_TIMEOUT_S
    while time.monotonic() < give_up_at:
        received = receiver.next(timeout_s=1.0)
        if received is None:
            stack.check()
        elif not received.is_genuine:
            raise DemoError("a callback came whose signature is not genuine")
        elif received.data.get("id") == job.id:
            return received
    raise DemoError(f"no callback came within {CALLBACK_TIMEOUT_S:.0f} s; see {stack.log_dir / 'keeper.log'}")


def _download(client: Client, job: Job, callback: Received, shown: Path) -> Outcome:
    folder = shown.parent
    return Outcome(
        job=job,
        callback=callback,
        input=shown,
        restored=client.download(job.id, to=folder / "restored.png"),
        comparison=client.download(job.id, to=folder / "comparison.png", part="comparison"),
        provenance=client.download(job.id, to=folder / "provenance.json", part="provenance"),
    )
