"""PREMIS 3 for one delivery: its objects, what happened to them, and who did it, in one XML file.

For each line of the manifest its source and results are objects with their checksums, and events tell what was done:
the source's checksum was calculated, and a derivative was made of it (or could not be). The program and each file of
weights are agents. Identifiers are stable: the same report gives the same file.

Sources: PREMIS Data Dictionary 3.0; premis.xsd of 18 January 2016; event types of id.loc.gov/vocabulary/preservation.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from xml.sax.saxutils import escape, quoteattr

from jobs.delivery.rows import DONE, OutputFile, Row, Status

NAMESPACE = "http://www.loc.gov/premis/v3"
_SCHEMA = "http://www.loc.gov/premis/v3 https://www.loc.gov/standards/premis/premis.xsd"
_EVENT_TYPES = "http://id.loc.gov/vocabulary/preservation/eventType"
_DIGESTS = "http://id.loc.gov/vocabulary/preservation/cryptographicHashFunctions"
#: Event identifiers are made of what they tell, below this name.
_UUIDS = uuid.uuid5(uuid.NAMESPACE_URL, "https://photomend.example/premis")
#: What no XML file can hold. Source: XML 1.0, 2.2.
_ILLEGAL = re.compile(r"[\x00-\x08\x0b-\x1f\ufffe\uffff]")
_TYPES = {
    ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".jpe": "image/jpeg", ".jfif": "image/jpeg", ".png": "image/png",
    ".tif": "image/tiff", ".tiff": "image/tiff", ".webp": "image/webp", ".gif": "image/gif", ".avif": "image/avif",
    ".json": "application/json",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A result whose delivered copy carries content credentials."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What is the same for all of a delivery."""

    program: str
    version: str
    made_at: str  #: UTC, ISO 8601: stands in for the time of rows that have none
    signed: Mapping[str, Signed] = field(default_factory=dict)  #: key of an output → its signed copy


class Record:
    """The file of rows that go by once: objects and events are kept apart by whoever writes them, and put together.

    First ``opening``, all ``objects``, all ``events``, then ``closing``.
    """

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._weights: set[tuple[str, str]] = set()

    opening = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<premis xmlns="{NAMESPACE}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        f'xsi:schemaLocation="{_SCHEMA}" version="3.0">\n'
    )

    def objects(self, row: Row) -> Iterator[str]:
        """The row's source and results."""
        return _objects(row, self._origin)

    def events(self, row: Row) -> Iterator[str]:
        """What happened to them."""
        self._weights.update(row.weights.items())
        return _events(row, self._origin)

    def closing(self) -> Iterator[str]:
        """Who did it, and the end."""
        yield from _agents(self._weights, self._origin)
        yield "</premis>\n"


def document(rows: Callable[[], Iterable[Row]], origin: Origin) -> Iterator[str]:
    """The file, piece by piece; ``rows`` is gone through twice, since objects come first and events after them."""
    record = Record(origin)
    yield record.opening
    for row in rows():
        yield from record.objects(row)
    for row in rows():
        yield from record.events(row)
    yield from record.closing()


def _text(value: str) -> str:
    """What XML can hold of it: of other control characters their picture."""
    return escape(_ILLEGAL.sub(_shown, value))


def _shown(illegal: re.Match[str]) -> str:
    character = illegal[0]
    return chr(0x2400 + ord(character)) if character < " " else "\ufffd"


def _element(name: str, value: str, **attributes: str) -> str:
    words = "".join(f" {key}={quoteattr(text)}" for key, text in attributes.items())
    return f"<{name}{words}>{_text(value)}</{name}>"


def _identifier(kind: str, value: str, *, of: str = "local") -> str:
    return f"<{kind}>{_element(f'{kind}Type', of)}{_element(f'{kind}Value', value)}</{kind}>"


def _source_id(row: Row) -> str:
    return f"source/{row.number}"


def _output_id(output: OutputFile) -> str:
    return f"result/{output.key}"


def _objects(row: Row, origin: Origin) -> Iterator[str]:
    name = row.source if row.version is None else f"{row.source}?versionId={row.version}"
    yield _file(_source_id(row), name=name, sha256=row.source_sha256)
    for output in row.outputs if row.status in DONE else ():
        signed = origin.signed.get(output.key)
        derived = (
            f"<relationship>{_element('relationshipType', 'derivation')}{_element('relationshipSubType', 'has source')}"
            f"{_identifier('relatedObjectIdentifier', _source_id(row))}</relationship>"
        )
        yield _file(
            _output_id(output),
            name=output.key,
            sha256=signed.sha256 if signed else output.sha256,
            size=signed.bytes if signed else output.bytes,
            more=derived,
        )


def _file(identifier: str, *, name: str, sha256: str | None, size: int | None = None, more: str = "") -> str:
    fixity = ""
    if sha256 is not None:
        algorithm = _element("messageDigestAlgorithm", "SHA-256", valueURI=f"{_DIGESTS}/sha256")
        fixity = f"<fixity>{algorithm}{_element('messageDigest', sha256)}</fixity>"
    bytes_ = "" if size is None else f"<size>{size}</size>"
    kind = _TYPES.get(PurePosixPath(name.partition("?versionId=")[0]).suffix.lower(), "application/octet-stream")
    designation = f"<formatDesignation>{_element('formatName', kind)}</formatDesignation>"
    return (
        f'<object xsi:type="file">{_identifier("objectIdentifier", identifier)}'
        f"<objectCharacteristics>{fixity}{bytes_}<format>{designation}</format></objectCharacteristics>"
        f"{_element('originalName', name)}{more}</object>\n"
    )


def _events(row: Row, origin: Origin) -> Iterator[str]:
    when = row.completed_at or origin.made_at
    source = (_source_id(row), "source")
    if row.source_sha256 is not None:
        yield _event(
            row,
            ("message digest calculation", "mes"),
            when=when,
            detail="The source's SHA-256 was calculated from the bytes that were worked on.",
            outcome=("success", row.source_sha256),
            agents=(_program(origin),),
            objects=(source,),
        )
    results = tuple((_output_id(output), "outcome") for output in row.outputs if row.status in DONE)
    yield _event(
        row,
        ("creation", "cre"),
        when=when,
        detail=_what_was_done(row),
        outcome=_outcome(row),
        agents=(_program(origin), *(_weights(name, sha) for name, sha in row.weights.items())),
        objects=(source, *results),
    )
    for decision in row.decisions:
        who = f" by {decision.by}" if decision.by else ""
        yield _event(
            row,
            ("quality review", ""),
            when=decision.at,
            detail=f"A person looked at the result{who}." + (f" Note: {decision.note}" if decision.note else ""),
            outcome=(decision.decision, f"{decision.decision}{who}"),
            agents=(),
            objects=results or (source,),
        )
    for output in row.outputs:
        if signed := origin.signed.get(output.key):
            yield _event(
                row,
                ("digital signature generation", ""),
                when=origin.made_at,
                detail="C2PA content credentials were signed into the delivered copy; its pixels are the result's.",
                outcome=("success", f"SHA-256 {output.sha256} became {signed.sha256}"),
                agents=(_program(origin),),
                objects=((_output_id(output), "outcome"),),
            )


def _what_was_done(row: Row) -> str:
    """Named for what it is: face pixels that a network made up are no restoration in the conservator's sense."""
    if row.status is Status.CANCELED:
        return "AI face reconstruction was asked for."
    made = f"AI face reconstruction by {row.model}" if row.model else "AI face reconstruction"
    return f"{made}, as a derivative; the source was only read." + (
        f" Recipe SHA-256 {row.recipe_sha256}." if row.recipe_sha256 else ""
    )


def _outcome(row: Row) -> tuple[str, str]:
    if row.status in DONE:
        looked = f"{row.faces_restored} of {row.faces_found} faces reconstructed"
        notes = [f"face {note.face} {note.status}: {note.reason}" for note in row.face_notes]
        notes += [f"face {note.face} to be looked at ({note.code}): {note.reason}" for note in row.review]
        return "success", "; ".join([looked, *notes])
    outcome = "failure" if row.status is Status.FAILED else "canceled"
    return outcome, f"{row.error_code}: {row.error}" if row.error_code else outcome


def _event(
    row: Row,
    kind: tuple[str, str],  # and its code in the vocabulary, if it has one
    *,
    when: str,
    detail: str,
    outcome: tuple[str, str],
    agents: Iterable[tuple[str, str]],
    objects: Iterable[tuple[str, str]],
) -> str:
    name, code = kind
    vocabulary = {"authority": "eventType", "authorityURI": _EVENT_TYPES, "valueURI": f"{_EVENT_TYPES}/{code}"}
    told = f"{code} {row.number} {row.source} {row.source_sha256} {row.recipe_sha256} {when} {outcome}"
    note = f"<eventOutcomeDetail>{_element('eventOutcomeDetailNote', outcome[1])}</eventOutcomeDetail>"
    agents_ = "".join(_link("linkingAgent", value, "executing program", of=of) for of, value in agents)
    objects_ = "".join(_link("linkingObject", value, role) for value, role in objects)
    return (
        f"<event>{_identifier('eventIdentifier', str(uuid.uuid5(_UUIDS, told)), of='UUID')}"
        f"{_element('eventType', name, **(vocabulary if code else {}))}"
        f"{_element('eventDateTime', when)}"
        f"<eventDetailInformation>{_element('eventDetail', detail)}</eventDetailInformation>"
        f"<eventOutcomeInformation>{_element('eventOutcome', outcome[0])}{note}</eventOutcomeInformation>"
        f"{agents_}{objects_}</event>\n"
    )


def _link(kind: str, value: str, role: str, *, of: str = "local") -> str:
    name = f"{kind}Identifier"
    words = _element(f"{name}Type", of) + _element(f"{name}Value", value) + _element(f"{kind}Role", role)
    return f"<{name}>{words}</{name}>"


def _program(origin: Origin) -> tuple[str, str]:
    return "program", f"{origin.program} {origin.version}"


def _weights(name: str, sha256: str) -> tuple[str, str]:
    return "weights SHA-256", f"{name} {sha256}"


def _agents(weights: Iterable[tuple[str, str]], origin: Origin) -> Iterator[str]:
    yield _agent(_program(origin), name=origin.program, version=origin.version)
    for name, sha256 in sorted(weights):
        yield _agent(_weights(name, sha256), name=name, note=f"Weights of a neural network, SHA-256 {sha256}.")


def _agent(identifier: tuple[str, str], *, name: str, version: str = "", note: str = "") -> str:
    of, value = identifier
    return (
        f"<agent>{_identifier('agentIdentifier', value, of=of)}{_element('agentName', name)}"
        f"{_element('agentType', 'software')}{_element('agentVersion', version) if version else ''}"
        f"{_element('agentNote', note) if note else ''}</agent>\n"
    )
