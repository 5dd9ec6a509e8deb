"""The README's tables as the code says them; ``python -m tests.readme`` writes them into it (``make readme``)."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from pydantic_core import PydanticUndefined

from api.problems import TABLE
from api.settings import ApiSettings
from jobs import errors as jobs_errors
from jobs.settings import JobsSettings
from pipeline import errors as pipeline_errors
from worker.failures import INTERNAL, INTERNAL_TITLE
from worker.settings import KeeperSettings, WorkerSettings

README = Path(__file__).parents[1] / "README.md"

#: Class → who reads it; a subclass's row lists only what it adds.
READERS = {JobsSettings: "all", ApiSettings: "API", WorkerSettings: "worker", KeeperSettings: "keeper"}
#: Defaults that depend on the machine.
MADE_DEFAULTS = {
    "weights_dir": "~/.local/share/photomend/weights",
    "cache_dir": "~/.cache/photomend",
    "node_name": "the host's name",
}


def settings_table() -> str:
    rows = ["| variable | default | read by | meaning |", "|---|---|---|---|"]
    for cls, reader in READERS.items():
        for name, field in cls.model_fields.items():
            if cls is not JobsSettings and name in JobsSettings.model_fields:
                continue
            default = MADE_DEFAULTS.get(name) if field.default is PydanticUndefined else _word(field.default)
            rows.append(f"| `PHOTOMEND_{name.upper()}` | {default} | {reader} | {_escaped(field.description or '')} |")
    return "\n".join(rows)


def errors_table() -> str:
    rows = ["| code | status | meaning |", "|---|---|---|"]
    return "\n".join(rows + [f"| `{code}` | {row.status} | {row.title}. {row.detail} |" for code, row in TABLE.items()])


def failures_table() -> str:
    rows = ["| code | meaning |", "|---|---|"]
    return "\n".join(rows + [f"| `{code}` | {public} |" for code, public in failure_codes().items()])


def failure_codes() -> dict[str, str]:
    """Code → public sentence of every error that ends a job."""
    parents = (jobs_errors.ObjectError, pipeline_errors.PipelineError)
    own = (jobs_errors.DeadlineExceeded, jobs_errors.TooManyInterruptions, jobs_errors.Poison)
    # The first three are only ever caught, never raised; an unavailable storage or a cancel is no failure.
    never = {
        jobs_errors.ObjectError,
        pipeline_errors.PipelineError,
        pipeline_errors.WeightsError,
        jobs_errors.StorageUnavailable,
        pipeline_errors.Cancelled,
    }
    found = [
        cls
        for module in (jobs_errors, pipeline_errors)
        for cls in vars(module).values()
        if isinstance(cls, type) and (issubclass(cls, parents) or cls in own) and cls not in never
    ]
    return {cls.code: cls.public for cls in found} | {INTERNAL: INTERNAL_TITLE}


TABLES = {"settings": settings_table, "errors": errors_table, "failures": failures_table}


def with_tables(text: str) -> str:
    """The README's text with every table between ``<!-- name -->`` and ``<!-- /name -->`` made anew."""
    for name, table in TABLES.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        text, found = pattern.subn(lambda match, table=table: f"{match[1]}{table()}\n{match[2]}", text)
        assert found == 1, f"README.md must have one table {name}"
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Snippet:
    """A piece of code in the README."""

    title: str  #: of its section
    language: str
    code: str
    reason: str | None  #: why it is not run


def snippets() -> list[Snippet]:
    """The code of the how-tos, in their order. What cannot be run says so before it: ``<!-- not run: why -->``."""
    text = README.read_text()
    how_to = text[text.index("\n## How to\n") : text.index("\n## Reference\n")]
    heading, reason = r"^### (?P<title>[^\n]*)$", r"(?:<!-- not run: (?P<reason>[^\n]*) -->\n)?"
    pattern = re.compile(rf"{heading}|^{reason}```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
    title, found = "", []
    for match in pattern.finditer(how_to):
        title = match["title"] or title
        if match["code"]:
            found.append(Snippet(title=title, language=match["language"], code=match["code"], reason=match["reason"]))
    return found


def _word(default: object) -> str:
    if default is None or default == ():
        return "unset"
    if isinstance(default, bool):
        return "1" if default else "0"
    if isinstance(default, tuple):
        return "`[" + ", ".join(f"{value:g}" for value in default) + "]`"
    if isinstance(default, float):
        return f"{default:g}"
    return _escaped(str(default))


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text()))
    sys.stdout.write("README.md has the code's tables\n")
