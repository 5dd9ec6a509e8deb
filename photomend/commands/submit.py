"""``photomend submit``, ``status`` and ``cancel``: a service from the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from photomend import DEFAULT_URL, exits
from photomend.commands import flags

if TYPE_CHECKING:
    from photomend.client import Client, Job

_JOB = "The job"

#: Said after a refusal for want of a key.
_KEY_WANTED = (
    "\nPut a key of yours into PHOTOMEND_API_KEY. The operator makes one: `photomend keys create --tenant NAME`."
)

Url = Annotated[
    str | None,
    typer.Option("--url", help=f"Where the service is; else PHOTOMEND_API_URL, else {DEFAULT_URL}", show_default=False),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        metavar="KEY",
        help="Your key, where the service asks for one; better in PHOTOMEND_API_KEY, which others on this machine "
        "do not see",
        show_default=False,
    ),
]
JobId = Annotated[str, typer.Argument(help="The job's id, job_…", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print the job as JSON on standard output")]


def submit(
    source: Annotated[str, typer.Argument(metavar="FILE|s3://…", help="A picture here, or one in the service's reach")],
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Stay until the job has ended")] = False,
    out: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Download the picture to here; waits for it", show_default=False),
    ] = None,
    timeout: Annotated[float | None, typer.Option(metavar="SECONDS", help="Stop waiting after this long")] = None,
    model: Annotated[str | None, flags.MODEL] = None,
    scale: Annotated[float | None, flags.SCALE] = None,
    background: Annotated[str | None, flags.BACKGROUND] = None,
    tile_px: Annotated[int | None, flags.TILE_PX] = None,
    strength: Annotated[float | None, flags.STRENGTH] = None,
    faces: Annotated[list[str] | None, flags.FACES] = None,
    only_center: Annotated[bool, flags.ONLY_CENTER] = False,
    rotate: Annotated[bool, flags.ROTATE] = False,
    aligned: Annotated[bool, flags.ALIGNED] = False,
    picture_format: Annotated[str | None, flags.FORMAT] = None,
    suffix: Annotated[str | None, flags.SUFFIX] = None,
    outputs: Annotated[list[str] | None, flags.OUTPUTS] = None,
    option: Annotated[list[str] | None, flags.OPTION] = None,
    priority: Annotated[str | None, typer.Option(help="interactive or batch", rich_help_panel=_JOB)] = None,
    deadline: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Fail if not done by then", rich_help_panel=_JOB)
    ] = None,
    callback: Annotated[
        str | None, typer.Option(metavar="URL", help="Told when the job has ended", rich_help_panel=_JOB)
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label", metavar="NAME=VALUE", help="Metadata, given back with the job; repeat it", rich_help_panel=_JOB
        ),
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    api_key: Key = None,
) -> None:
    """Submit one picture to a running service.

    For instance:

      photomend submit old.jpg -o mended.jpg

      photomend submit s3://photos/1923/wedding.tif --scale 2 --outputs image,comparison --wait

      photomend submit old.jpg --callback https://example.com/hook --label order=4711 --option max_faces=3
    """
    wishes = {
        "model": model,
        "scale": scale,
        "background": background,
        "tile_px": tile_px,
        "strength": strength,
        "faces": faces,
        "rotate": rotate or None,
        "aligned": aligned or None,
        "format": picture_format,
        "suffix": suffix,
        "outputs": outputs,
    }
    options = pairs(option, "--option", value) | flags.as_options(wishes, only_center=only_center)
    said = {"options": options, "priority": priority, "deadline_s": deadline, "callback_url": callback}
    with connected(url, api_key) as client:
        job = _submit(client, source, said | {"metadata": pairs(label, "--label", str)})
        say(f"{job.id} {job.status}")
        if wait or out is not None:
            job = _follow(client, job.id, timeout)
            _summary(job)
        if out is not None:
            say(f"Saved {client.download(job.id, to=out)}")
        _print(job, as_json=as_json)


def status(job_id: JobId, as_json: AsJson = False, url: Url = None, api_key: Key = None) -> None:
    """Say how a job is doing.

    Example: photomend status job_0f4c2b9d7e6a4f1c8b3d5e7f9a1b2c3d
    """
    with connected(url, api_key) as client:
        job = client.get(job_id)
        _summary(job)
        _print(job, as_json=as_json)
        if job.error is not None:
            raise typer.Exit(exits.FAILED)


def cancel(job_id: JobId, as_json: AsJson = False, url: Url = None, api_key: Key = None) -> None:
    """Cancel a job: one that waits ends at once, one at work within seconds, one that has ended stays as it is.

    Example: photomend cancel job_0f4c2b9d7e6a4f1c8b3d5e7f9a1b2c3d
    """
    with connected(url, api_key) as client:
        job = client.cancel(job_id)
        _summary(job)
        _print(job, as_json=as_json)


@contextmanager
def connected(url: str | None, api_key: str | None) -> Iterator[Client]:
    """A client whose errors end the command with one sentence."""
    from photomend.client import Client, PhotomendError, ProblemError, Unreachable

    try:
        with Client(url, api_key=api_key) as client:
            yield client
    except Unreachable as err:
        _fail(f"{err}. Is the service running? `photomend up` starts one.")
    except ProblemError as err:
        where = f" ({err.pointer})" if err.pointer else ""
        _fail(f"{err}{where} [{err.code}]{_KEY_WANTED if err.code == 'unauthorized' else ''}")
    except PhotomendError as err:
        _fail(str(err))
    except OSError as err:
        _fail(f"{err.filename}: {err.strerror}")


def _fail(sentence: str) -> NoReturn:
    say(sentence, style="red")
    raise typer.Exit(exits.FAILED)


def _submit(client: Client, source: str, said: dict[str, Any]) -> Job:
    if source.startswith("s3://"):
        return client.submit(source, **said)
    with _progress() as progress:
        bar = progress.add_task("uploading", total=None)
        return client.submit(
            source, **said, on_upload=lambda sent, total: progress.update(bar, completed=sent, total=total)
        )


def _follow(client: Client, job_id: str, timeout_s: float | None) -> Job:
    with _progress() as progress:
        bar = progress.add_task("queued", total=100)

        def show(job: Job) -> None:
            progress.update(bar, description=job.stage or job.status, completed=100 if job.is_done else job.percent)

        return client.wait(job_id, timeout_s=timeout_s, on_progress=show)


def _progress() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<12}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    # On standard error: standard output is for --json.
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _summary(job: Job) -> None:
    words = [f"{job.id} {job.status}"]
    if job.status == "processing":
        words.append(f"{job.stage or 'starting'} {job.percent} %")
    if job.status == "succeeded":
        faces = [face for face in job.faces if face.get("status") != "rejected"]
        words.append(f"{len(faces)} face{'' if len(faces) == 1 else 's'}")
    say(", ".join(words))
    for notice in job.warnings:
        say(f"note: {notice['detail']}", style="yellow")
    if job.error is not None:
        say(f"{job.error['title']} {job.error['detail']} [{job.error['code']}]", style="red")


def say(line: str, style: str = "") -> None:
    from rich.console import Console
    from rich.text import Text

    # Text, not markup: a service's or a user's brackets are no formatting.
    Console(stderr=True).print(Text(line, style=style), soft_wrap=True, highlight=False)


def _print(job: Job, *, as_json: bool) -> None:
    sys.stdout.write((json.dumps(dict(job.raw), indent=2) if as_json else job.id) + "\n")


def pairs(said: list[str] | None, flag: str, convert: Callable[[str], Any]) -> dict[str, Any]:
    pairs = {}
    for text in said or []:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint=flag)
        pairs[name] = convert(value)
    return pairs


def value(text: str) -> Any:
    """Numbers, true, false and null as such, everything else as text; the service checks them."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if value is None or isinstance(value, bool | int | float) else text
