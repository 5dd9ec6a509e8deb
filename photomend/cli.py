"""The ``photomend`` command: assembles the subcommands and turns typed errors into one sentence and an exit code."""

from __future__ import annotations

import sys

import typer

from photomend import exits
from photomend.commands import api, demo, doctor, keeper, models, restore, submit, train, up, worker
from photomend.faults import wrong_settings

app = typer.Typer(
    name="photomend",
    help="Mends old and degraded photos of people: on one file, or as a job service.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _root() -> None:
    """Mends old and degraded photos of people: on one file, or as a job service."""


app.command("restore")(restore.restore)
app.command("demo")(demo.demo)
app.command("up")(up.up)
app.command("submit")(submit.submit)
app.command("status")(submit.status)
app.command("cancel")(submit.cancel)
app.command("api")(api.api)
app.add_typer(train.app, name="train")
app.add_typer(models.app, name="models")
app.command("worker")(worker.worker)
app.command("keeper")(keeper.keeper)
app.command("doctor")(doctor.doctor)


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
    except ValueError as err:
        faults = wrong_settings(err)
        if not faults:
            raise
        for fault in faults:
            Console(stderr=True).print(Text(fault, style="red"), soft_wrap=True)
        sys.exit(exits.FAILED)
