"""What became of one picture on this machine, whichever command it was for, and that as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from photomend.files import Input
    from pipeline.restoration import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """One picture that went through."""

    source: Input
    report: Report
    files: dict[str, Path]  #: part → where it is; none where nothing was to be written


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """One picture that did not."""

    source: Input
    code: str  #: stable
    sentence: str


def as_json(outcomes: Iterable[Finished | Failed]) -> str:
    """What ``--json`` prints."""
    return json.dumps({"pictures": [_words(one) for one in outcomes]}, indent=2, ensure_ascii=False)


def _words(one: Finished | Failed) -> dict[str, Any]:
    if isinstance(one, Failed):
        return {"input": str(one.source.path), "code": one.code, "detail": one.sentence}
    report = one.report
    return {
        "input": str(one.source.path),
        "files": {part: str(path) for part, path in one.files.items()},
        "width": report.width,
        "height": report.height,
        "faces": [dataclasses.asdict(face) for face in report.faces],
        "warnings": [dataclasses.asdict(notice) for notice in report.warnings],
        "seconds": report.seconds,
        "model": report.model,
    }
