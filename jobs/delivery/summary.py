"""A report in figures: counted while its rows go by, in bounded memory however many there are."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from jobs.delivery.rows import Row, Status

#: Of rows that a person should read, so many are kept; the CSV file has them all.
MOST_SHOWN = 500
#: Upper ends of the histogram's classes, seconds; the last class is open.
SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
_NUMBER = re.compile(r"-?\d+([.,]\d+)*")


@dataclass(kw_only=True)
class Summary:
    """What a report's rows come to."""

    statuses: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)  #: code → rows
    faces: Counter[str] = field(default_factory=Counter)  #: found, restored, skipped
    reasons: Counter[str] = field(default_factory=Counter)  #: why faces were left, without its numbers → faces
    flags: Counter[str] = field(default_factory=Counter)  #: review code → faces
    warnings: Counter[str] = field(default_factory=Counter)  #: code → rows
    seconds: list[int] = field(default_factory=lambda: [0] * (len(SECONDS) + 1))  #: class → rows
    total_seconds: float = 0.0
    output_files: int = 0
    output_bytes: int = 0
    weights: dict[str, set[str]] = field(default_factory=dict)  #: network → SHA-256
    engines: Counter[str] = field(default_factory=Counter)
    devices: Counter[str] = field(default_factory=Counter)
    failed: list[Row] = field(default_factory=list)  #: the first of them
    flagged: list[Row] = field(default_factory=list)  #: the first of them
    flagged_rows: int = 0

    @property
    def rows(self) -> int:
        return self.statuses.total()

    def add(self, row: Row) -> None:
        """Count one row."""
        self.statuses[row.status] += 1
        if row.status is Status.FAILED:
            self.errors[row.error_code or "unknown"] += 1
            if len(self.failed) < MOST_SHOWN:
                self.failed.append(row)
        self._add_faces(row)
        self._add_machine(row)
        self.warnings.update(row.warnings)
        self.output_files += len(row.outputs)
        self.output_bytes += sum(output.bytes for output in row.outputs)

    def _add_faces(self, row: Row) -> None:
        self.faces["found"] += row.faces_found or 0
        self.faces["restored"] += row.faces_restored or 0
        self.faces["skipped"] += row.faces_skipped or 0
        # "it is 31 px, smaller than 40" and "it is 12 px, smaller than 40" are one reason.
        self.reasons.update(_NUMBER.sub("…", note.reason) for note in row.face_notes)
        self.flags.update(note.code for note in row.review)
        if row.review:
            self.flagged_rows += 1
            if len(self.flagged) < MOST_SHOWN:
                self.flagged.append(row)

    def _add_machine(self, row: Row) -> None:
        for name, sha256 in row.weights.items():
            self.weights.setdefault(name, set()).add(sha256)
        if row.engine:
            self.engines[row.engine] += 1
        if row.device:
            self.devices[row.device] += 1
        if row.seconds is not None:
            self.total_seconds += row.seconds
            self.seconds[sum(row.seconds >= end for end in SECONDS)] += 1
