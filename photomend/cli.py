"""The ``photomend`` command: lists the subcommands, loads the one that is used, makes a sentence of a typed error."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

from jobs.errors import JobsError
from photomend import exits
from photomend.faults import wrong_settings

if TYPE_CHECKING:
    from typer._click import Command, Context

HELP = "Mends old and degraded photos of people: on one file, or as a job service."


@dataclass(frozen=True, slots=True)
class Entry:
    """A command as the list shows it; its module is imported when it is used."""

    module: str  #: in photomend.commands
    name: str  #: of the function, or of the Typer app of several
    summary: str  #: the first paragraph of its own help


#: In the order in which they are listed.
COMMANDS = {
    "restore": Entry(
        "restore",
        "restore",
        "Mend pictures on this machine: find the faces, restore them, enlarge the rest, keep everything else.",
    ),
    "deliver": Entry("deliver", "app", "Hand over what `photomend restore --report` made."),
    "detect": Entry(
        "detect",
        "detect",
        "Find the faces in pictures and say what `photomend restore` would do with each. Nothing is changed.",
    ),
    "engines": Entry(
        "engines",
        "engines",
        "Run each network in every way that this machine has, and say how fast it is, how exact, and what is chosen.",
    ),
    "demo": Entry(
        "demo",
        "demo",
        "Mend one photo through the whole service, started for it on this machine and stopped again.",
    ),
    "up": Entry(
        "up",
        "up",
        "Run the whole service on this machine until Ctrl-C: Redis, S3, API, keeper and a worker, on loopback.",
    ),
    "submit": Entry("submit", "submit", "Submit one picture to a running service."),
    "status": Entry("submit", "status", "Say how a job is doing."),
    "cancel": Entry(
        "submit",
        "cancel",
        "Cancel a job: one that waits ends at once, one at work within seconds, one that has ended stays as it is.",
    ),
    "batch": Entry("batch", "app", "Mend deliveries of many scans: from a bucket's folder or a manifest."),
    "api": Entry("api", "api", "Serve the HTTP API: takes jobs, tells about them, hands out results."),
    "worker": Entry("worker", "worker", "Take jobs from the queues and restore their pictures."),
    "bench": Entry(
        "bench", "bench", "Measure how fast this machine restores, with full-size networks of seeded weights."
    ),
    "keeper": Entry(
        "keeper",
        "keeper",
        "Feed workers, recover what was left behind, send callbacks. Needs no GPU; run two or more for safety.",
    ),
    "doctor": Entry(
        "doctor",
        "doctor",
        "Look through settings, Redis, storage, jobs, weights and devices; say what does not fit, and what to do.",
    ),
    "train": Entry("train", "app", "Train a GFPGAN as published; train and export the preview weights."),
    "evaluate": Entry(
        "evaluate",
        "evaluate",
        "Measure restorers and detectors: PSNR, SSIM, LPIPS, FID, NIQE, identity and more, against the degraded input.",
    ),
    "models": Entry("models", "app", "The networks' weights: which are known, getting them, checking them."),
    "callbacks": Entry("callbacks", "app", "See what became of callbacks, and send them again."),
    "backlog": Entry(
        "backlog",
        "backlog",
        "Print what waits and runs, the work in it as seconds of one worker, and how many workers would do it in time.",
    ),
    "dead": Entry("dead", "app", "See which jobs were given up and why, and try them once more."),
    "tenants": Entry("tenants", "app", "Set up who shares the service, and what each is entitled to."),
    "keys": Entry("keys", "app", "Make, list and revoke the keys by which tenants call the API."),
}


class _Listed(TyperCommand):
    """A command that is not imported yet: for the list of all, and for the shell's completion."""


class Loading(dict[str, "Command"]):
    """The commands by name; each is imported when it is asked for."""

    def __getitem__(self, name: str) -> Command:
        if isinstance(command := super().__getitem__(name), _Listed):
            command = self[name] = _loaded(name, COMMANDS[name])
        return command


class Commands(TyperGroup):
    """A group that imports a command when it is used, and lists all of them without."""

    def __init__(self, **words: Any) -> None:
        super().__init__(**words)
        self.commands = Loading({name: _Listed(name=name, help=entry.summary) for name, entry in COMMANDS.items()})

    def resolve_command(self, ctx: Context, args: list[str]) -> tuple[str | None, Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command if name is None else self.commands[name], rest


def _loaded(name: str, entry: Entry) -> Command:
    found = getattr(importlib.import_module(f"photomend.commands.{entry.module}"), entry.name)
    if isinstance(found, typer.Typer):
        found.info.name = name
        return typer.main.get_group(found)
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    alone.command(name)(found)
    return typer.main.get_command(alone)


app = typer.Typer(
    name="photomend",
    cls=Commands,
    help=HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(help=HELP)
def _root() -> None:
    pass


def main() -> None:
    """Entry point of the console script."""
    from rich.console import Console
    from rich.text import Text

    try:
        # "own_process": a command may start the program anew, which a test runner would not survive.
        app(obj={"own_process": True})
    except KeyboardInterrupt:
        Console(stderr=True).print("Interrupted.")
        sys.exit(exits.INTERRUPTED)
    except JobsError as err:
        Console(stderr=True).print(Text(f"{err.public} {_sentence(str(err))}", style="red"), soft_wrap=True)
        sys.exit(exits.FAILED)
    except ValueError as err:
        faults = wrong_settings(err)
        if not faults:
            raise
        for fault in faults:
            Console(stderr=True).print(Text(fault, style="red"), soft_wrap=True)
        sys.exit(exits.FAILED)


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:].rstrip('.')}."
