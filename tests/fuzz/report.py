"""What came of the inputs, and what is kept of those that should not have done what they did."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """An input that did something else than become a picture or be refused with a code."""

    kind: str  #: exception, hang, death; or crash, which the sandbox held
    detail: str
    file: Path  #: the input

    @property
    def is_escape(self) -> bool:
        """Whether a worker would have been hurt. A crash in the sandbox's child is the job's end with a code."""
        return self.kind != "crash"


@dataclass(slots=True)
class Report:
    """Of a whole run."""

    ends: Counter[str] = field(default_factory=Counter)  #: codes, and "picture"
    findings: list[Finding] = field(default_factory=list)
    guided: int = 0  #: inputs that were chosen by what they reach

    @property
    def escapes(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.is_escape]

    @property
    def inputs(self) -> int:
        return self.ends.total() + self.guided


def save(folder: Path, data: bytes, *, kind: str, detail: str) -> Finding:
    """Keep an input, with what it did and how to see it do that again."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{kind}-{hashlib.sha256(data).hexdigest()[:16]}.bin"
    file.write_bytes(data)
    again = f"again: .venv/bin/python -m tests.fuzz --reproduce {file}"
    file.with_suffix(".txt").write_text(f"{kind}\n{again}\n\n{detail}\n")
    return Finding(kind=kind, detail=detail, file=file)
