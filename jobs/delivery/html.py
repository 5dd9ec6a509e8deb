"""The completion report as one HTML page: it asks for nothing outside itself, runs nothing, and can be printed.

Names, reasons and options are strangers' text: everything is escaped, and a policy in the page forbids all but its own
style and the pictures in it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from jobs.delivery.charts import Bar, bars, columns, plain
from jobs.delivery.rows import Row
from jobs.delivery.summary import SECONDS, Summary

#: Of the contact sheet: most pairs, and most bytes of all its pictures, so that the page opens at once and fits a mail.
MOST_SAMPLES = 24
MOST_SAMPLE_BYTES = 6_000_000
_STATUSES = {"succeeded": "good", "skipped": "quiet", "failed": "bad", "canceled": "warn"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One pair of the contact sheet."""

    row: Row
    before: bytes  #: JPEG
    after: bytes  #: JPEG


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """What the page says of the delivery as a whole."""

    title: str
    source: str
    output: str
    made_by: str  #: program and version
    made_at: str  #: UTC, ISO 8601
    recipe: Mapping[str, Any] = field(default_factory=dict)  #: options
    elapsed_s: float | None = None  #: of the last run
    cost: str | None = None  #: of devices' time, with its currency
    beside: tuple[str, ...] = ()  #: names of the report's other files, in the same folder


def page(heading: Heading, summary: Summary, samples: Iterable[Sample]) -> Iterator[str]:
    """The page, piece by piece.

    Args:
        heading: what it is about.
        summary: of all rows.
        samples: for the contact sheet; those beyond ``MOST_SAMPLES`` or ``MOST_SAMPLE_BYTES`` are left out.
    """
    yield (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><meta name="referrer" content="no-referrer">'
        f"<title>{plain(heading.title)}</title><style>{_style()}</style></head><body><main>"
    )
    yield _top(heading, summary)
    yield _charts(summary)
    yield _failures(summary)
    yield _flagged(summary)
    yield from _sheet(samples)
    yield _recipe(heading, summary)
    yield "</main></body></html>\n"


def _style() -> str:
    return resources.files("jobs.delivery").joinpath("report.css").read_text(encoding="utf-8")


def _name(value: str) -> str:
    return f"<bdi>{plain(value)}</bdi>"


def _top(heading: Heading, summary: Summary) -> str:
    done = summary.statuses["succeeded"] + summary.statuses["skipped"]
    tiles = [
        ("lines of the manifest", f"{summary.rows:,}", ""),
        ("restored", f"{summary.statuses['succeeded']:,}", "good"),
        ("there already", f"{summary.statuses['skipped']:,}", "quiet"),
        ("failed", f"{summary.statuses['failed']:,}", "bad" if summary.statuses["failed"] else "quiet"),
        ("not reached", f"{summary.statuses['canceled']:,}", "warn" if summary.statuses["canceled"] else "quiet"),
        ("faces restored", f"{summary.faces['restored']:,}", ""),
        ("to look at", f"{summary.flagged_rows:,}", "warn" if summary.flagged_rows else "quiet"),
    ]
    cells = "".join(
        f'<div class="tile {tone}"><b>{value}</b><span>{label}</span></div>' for label, value, tone in tiles
    )
    notes = "".join(f'<p class="note">{plain(note)}</p>' for note in _notes(summary))
    sentence = f"{done:,} of {summary.rows:,} pictures have a result"
    if summary.statuses["failed"]:
        sentence += f"; {summary.statuses['failed']:,} failed"
    if summary.statuses["canceled"]:
        sentence += f"; {summary.statuses['canceled']:,} were not reached"
    facts = [
        f"<dt>from</dt><dd>{_name(heading.source)}</dd>",
        f"<dt>to</dt><dd>{_name(heading.output)}</dd>",
        f"<dt>made</dt><dd>{plain(heading.made_at)} by {plain(heading.made_by)}</dd>",
        f"<dt>results</dt><dd>{summary.output_files:,} files, {_bytes(summary.output_bytes)}</dd>",
        f"<dt>work</dt><dd>{_duration(summary.total_seconds)} on the pictures{_elapsed(heading)}</dd>",
    ]
    if heading.cost:
        facts.append(f"<dt>cost</dt><dd>{plain(heading.cost)} for devices' time</dd>")
    if heading.beside:
        facts.append(f"<dt>beside</dt><dd>{', '.join(_name(name) for name in heading.beside)}</dd>")
    return (
        f'<header><p class="kind">Completion report</p><h1>{_name(heading.title)}</h1><p class="lead">{sentence}.</p>'
        f'{notes}</header><section class="tiles">{cells}</section><dl class="facts">{"".join(facts)}</dl>'
    )


def _notes(summary: Summary) -> Iterator[str]:
    """What a reader must see before anything else."""
    if count := summary.statuses["canceled"]:
        yield f"It ended before everything was worked on: {count:,} lines were not reached."
    if count := summary.warnings["preview_weights"]:
        yield (
            f"{count:,} pictures were made with the preview weights, which show that everything works and are far "
            "from the released ones."
        )


def _elapsed(heading: Heading) -> str:
    return "" if heading.elapsed_s is None else f", {_duration(heading.elapsed_s)} by the clock in the last run"


def _charts(summary: Summary) -> str:
    statuses = [Bar(name, summary.statuses[name], colour) for name, colour in _STATUSES.items()]
    faces = [
        Bar("found", summary.faces["found"]),
        Bar("restored", summary.faces["restored"], "good"),
        Bar("left as they were", summary.faces["skipped"], "quiet"),
        *(Bar(f"flag: {code}", count, "warn") for code, count in summary.flags.most_common(6)),
    ]
    cards = [("How the lines ended", bars("How the lines ended", statuses)), ("Faces", bars("Faces", faces))]
    if summary.errors:
        errors = [Bar(code, count, "bad") for code, count in summary.errors.most_common(10)]
        cards.append(("Failures by code", bars("Failures by code", errors)))
    if any(summary.seconds):
        drawn = columns("Seconds of work", [Bar(*one) for one in zip(_classes(), summary.seconds, strict=True)])
        cards.append(("Seconds of work on a picture", drawn))
    if summary.reasons:
        reasons = [Bar(reason, count, "quiet") for reason, count in summary.reasons.most_common(8)]
        cards.append(("Why faces were left as they were", bars("Why faces were left as they were", reasons)))
    drawn = "".join(f'<figure class="card"><figcaption>{name}</figcaption>{chart}</figure>' for name, chart in cards)
    return f'<section class="charts">{drawn}</section>'


def _classes() -> list[str]:
    starts = [0.0, *SECONDS]
    return [f"{start:g}\u2013{end:g}" for start, end in zip(starts, SECONDS, strict=False)] + [f"> {SECONDS[-1]:g}"]


def _failures(summary: Summary) -> str:
    if not summary.failed:
        return ""
    rows = [
        (f"{row.number}", _name(row.source), f"<code>{plain(row.error_code)}</code>", plain(row.error or ""))
        for row in summary.failed
    ]
    return _table("Failures", ("line", "source", "code", "why"), rows, of=summary.statuses["failed"])


def _flagged(summary: Summary) -> str:
    if not summary.flagged:
        return ""
    rows = [
        (
            f"{row.number}",
            _name(row.source),
            " ".join(f"<code>{plain(code)}</code>" for code in dict.fromkeys(note.code for note in row.review)),
            "<br>".join(f"face {plain(note.face)}: {plain(note.reason)}" for note in row.review[:20]),
            _decided(row),
        )
        for row in summary.flagged
    ]
    return _table("To look at", ("line", "source", "flags", "why", "decided"), rows, of=summary.flagged_rows)


def _decided(row: Row) -> str:
    """The latest decision, with who and when."""
    if not row.decisions:
        return ""
    latest = row.decisions[-1]
    who = f" by {plain(latest.by)}" if latest.by else ""
    note = f"<br>{plain(latest.note)}" if latest.note else ""
    return f"{plain(latest.decision)}{who}, {plain(latest.at[:10])}{note}"


def _table(title: str, names: Sequence[str], rows: Sequence[Sequence[str]], *, of: int) -> str:
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    more = (
        f'<p class="more">The first {len(rows):,} of {of:,}; the CSV file has them all.</p>' if of > len(rows) else ""
    )
    return (
        f"<section><h2>{title} <small>{of:,}</small></h2>"
        f'<div class="wide" tabindex="0" role="region" aria-label="{title}">'
        f'<table class="list"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{more}</section>'
    )


def _sheet(samples: Iterable[Sample]) -> Iterator[str]:
    shown = total = 0
    for sample in samples:
        total += len(sample.before) + len(sample.after)
        if shown == MOST_SAMPLES or total > MOST_SAMPLE_BYTES:
            break
        if not shown:
            yield '<section><h2>Contact sheet <small>before | after</small></h2><div class="sheet">'
        shown += 1
        yield _pair(sample)
    if shown:
        yield f'</div><p class="more">{shown} pictures: flagged ones first, the rest spread evenly.</p></section>'


def _pair(sample: Sample) -> str:
    row = sample.row
    flags = "".join(f"<i>{plain(code)}</i>" for code in dict.fromkeys(note.code for note in row.review))
    faces = "" if row.faces_found is None else f"{row.faces_restored} of {row.faces_found} faces"
    halves = "".join(
        f'<img alt="{when} of line {row.number}" src="data:image/jpeg;base64,{base64.b64encode(data).decode()}">'
        for when, data in (("before", sample.before), ("after", sample.after))
    )
    return (
        f'<figure class="pair"><div>{halves}</div><figcaption><b>{row.number}</b> {_name(row.source)}'
        f"<span>{faces}</span>{flags}</figcaption></figure>"
    )


def _recipe(heading: Heading, summary: Summary) -> str:
    options = "".join(
        f"<tr><th>{plain(name)}</th><td><code>{plain(json.dumps(value, ensure_ascii=False))}</code></td></tr>"
        for name, value in heading.recipe.items()
    )
    weights = "".join(
        f"<tr><th>{plain(name)}</th><td>{'<br>'.join(f'<code>{plain(one)}</code>' for one in sorted(hashes))}</td></tr>"
        for name, hashes in sorted(summary.weights.items())
    )
    machines = [*summary.engines.most_common(8), *summary.devices.most_common(8)]
    counted = "".join(f"<tr><th>{plain(name)}</th><td>{count:,} pictures</td></tr>" for name, count in machines)
    told = [("Recipe", options), ("Weights, SHA-256", weights), ("Engines and machines", counted)]
    told.append(("Warnings", "".join(_warning(*one) for one in summary.warnings.most_common(20))))
    cards = "".join(f'<div class="card"><h3>{title}</h3><table>{table}</table></div>' for title, table in told if table)
    return f'<section><h2>How it was made</h2><div class="made">{cards}</div></section>' if cards else ""


def _warning(code: str, count: int) -> str:
    return f"<tr><th>{plain(code)}</th><td>{count:,} pictures</td></tr>"


def _bytes(count: float) -> str:
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60:02d} min"
