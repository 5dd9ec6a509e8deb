"""What has become of the published contract: which changes break callers, which only add.

``api/openapi.v1.json`` is what callers were promised. ``make contract-accept`` (this file, run as a module)
writes the contract of the code over it, unless something in it would break a caller that keeps to the old one.

A caller sends requests and reads answers, so the two are judged in opposite ways: a request may not be asked for more
or allowed less, an answer may not hold less or something of a kind that was not there before.
Source: the rules of OpenAPI diff tools such as oasdiff, for the parts of OpenAPI 3.1 that this contract uses.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

SNAPSHOT = Path(__file__).parents[2] / "api" / "openapi.v1.json"

#: Bounds, and whether a larger number allows more.
_BOUNDS = {
    "minimum": False, "exclusiveMinimum": False, "minLength": False, "minItems": False,
    "maximum": True, "exclusiveMaximum": True, "maxLength": True, "maxItems": True, "maxProperties": True,
}  # fmt: skip
Document = Mapping[str, Any]


def breaking_changes(old: Document, new: Document) -> list[str]:
    """What a caller that keeps to ``old`` would stumble over in ``new``; one sentence each, with the place."""
    return sorted(set(_paths(old, new)))


def _paths(old: Document, new: Document) -> Iterator[str]:
    for path, operations in old["paths"].items():
        for method, before in operations.items():
            place = f"{method.upper()} {path}"
            after = new["paths"].get(path, {}).get(method)
            if after is None:
                yield f"{place}: the call is gone"
                continue
            yield from _parameters(place, before, after, old, new)
            yield from _body(place, before, after, old, new)
            yield from _answers(place, before, after, old, new)


def _parameters(place: str, before: Document, after: Document, old: Document, new: Document) -> Iterator[str]:
    known = {(p["in"], p["name"].lower()): p for p in before.get("parameters", ())}
    now = {(p["in"], p["name"].lower()): p for p in after.get("parameters", ())}
    for key, parameter in known.items():
        where = f"{place}, {key[0]} parameter {key[1]}"
        if key not in now:
            yield f"{where}: gone"
        else:
            yield from _schema(where, parameter["schema"], now[key]["schema"], _Sides(old, new, is_sent=True))
    for key, parameter in now.items():
        if parameter.get("required") and not known.get(key, {}).get("required"):
            yield f"{place}, {key[0]} parameter {key[1]}: required now"


def _body(place: str, before: Document, after: Document, old: Document, new: Document) -> Iterator[str]:
    known, now = before.get("requestBody", {}), after.get("requestBody", {})
    if now.get("required") and not known.get("required"):
        yield f"{place}: a body is required now"
    for kind, media in known.get("content", {}).items():
        if kind not in now.get("content", {}):
            yield f"{place}: does not take {kind} any more"
        else:
            sides = _Sides(old, new, is_sent=True)
            yield from _schema(f"{place}, body", media["schema"], now["content"][kind]["schema"], sides)


def _answers(place: str, before: Document, after: Document, old: Document, new: Document) -> Iterator[str]:
    for status, answer in before["responses"].items():
        now = after["responses"].get(status)
        if now is None:
            yield f"{place}: does not answer {status} any more"
            continue
        for name in answer.get("headers", {}):
            if name not in now.get("headers", {}):
                yield f"{place}, {status}: the header {name} is gone"
        for kind, media in answer.get("content", {}).items():
            if kind not in now.get("content", {}):
                yield f"{place}, {status}: is not {kind} any more"
                continue
            sides = _Sides(old, new, is_sent=False)
            yield from _schema(f"{place}, {status}", media["schema"], now["content"][kind]["schema"], sides)


class _Sides:
    """The two documents, which way the value travels, and what has been compared already (schemas may be recursive)."""

    def __init__(self, old: Document, new: Document, *, is_sent: bool) -> None:
        self.old, self.new, self.is_sent = old, new, is_sent
        self.compared: set[tuple[str, str]] = set()


def _schema(where: str, before: Document, after: Document, sides: _Sides) -> Iterator[str]:
    names = before.get("$ref", ""), after.get("$ref", "")
    if all(names):
        if names in sides.compared:
            return
        sides.compared.add(names)
    before, after = _resolved(before, sides.old), _resolved(after, sides.new)
    yield from _kinds(where, before, after, sides)
    yield from _words(where, before, after, sides)
    yield from _members(where, before, after, sides)
    if sides.is_sent:
        yield from _bounds(where, before, after)
    if "items" in before and "items" in after:
        yield from _schema(f"{where}[]", before["items"], after["items"], sides)


def _resolved(schema: Document, document: Document) -> Document:
    """The schema itself; of a choice between null and one other, that other, marked as nullable."""
    if "$ref" in schema:
        return _resolved(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document)
    kinds = [kind for kind in schema.get("anyOf", ()) if kind.get("type") != "null"]
    if len(kinds) == 1 and len(schema["anyOf"]) == 2:
        rest = {name: value for name, value in schema.items() if name != "anyOf"}
        return {**_resolved(kinds[0], document), **rest, "x-nullable": True}
    return schema


def _types(schema: Document) -> set[str]:
    """Every type that a value may have; empty = any."""
    said = schema.get("type")
    found = {said} if isinstance(said, str) else set(said or ())
    for kind in schema.get("anyOf", ()):
        found |= _types(kind)
    if found and schema.get("x-nullable"):
        found.add("null")
    # Whoever takes numbers takes integers.
    return found | ({"integer"} if "number" in found else set())


def _kinds(where: str, before: Document, after: Document, sides: _Sides) -> Iterator[str]:
    known, now = _types(before), _types(after)
    if known == now:
        return
    narrowed = bool(now) and (not known or not known <= now)
    widened = bool(known) and (not now or not now <= known)
    if narrowed if sides.is_sent else widened:
        yield f"{where}: was {_listed(known)}, is {_listed(now)}"


def _listed(types: set[str]) -> str:
    return " or ".join(sorted(types)) or "anything"


def _words(where: str, before: Document, after: Document, sides: _Sides) -> Iterator[str]:
    """Enumerations. New words in an answer only add, as the README says; one that is gone breaks who waits for it."""
    known, now = _allowed(before), _allowed(after)
    if known and now:
        for word in sorted(known - now):
            yield f"{where}: {word} is gone"
    elif now and sides.is_sent:
        yield f"{where}: only {', '.join(sorted(now))} now"
    elif known and not sides.is_sent:
        yield f"{where}: is not one of {', '.join(sorted(known))} any more"


def _allowed(schema: Document) -> set[str]:
    if "const" in schema:
        return {json.dumps(schema["const"])}
    return {json.dumps(word) for word in schema.get("enum", ())}


def _members(where: str, before: Document, after: Document, sides: _Sides) -> Iterator[str]:
    known, now = before.get("properties", {}), after.get("properties", {})
    for name, schema in known.items():
        if name not in now:
            yield f"{where}/{name}: gone"
        else:
            yield from _schema(f"{where}/{name}", schema, now[name], sides)
    required, still = set(before.get("required", ())), set(after.get("required", ()))
    if sides.is_sent:
        yield from (f"{where}/{name}: required now" for name in sorted(still - required))
        if after.get("additionalProperties") is False and before.get("additionalProperties", True) is not False:
            yield f"{where}: takes no other members now"
    else:
        yield from (f"{where}/{name}: may be missing now" for name in sorted(required - still) if name in now)


def _bounds(where: str, before: Document, after: Document) -> Iterator[str]:
    for name, larger_allows_more in _BOUNDS.items():
        if name not in after:
            continue
        known, now = before.get(name), after[name]
        if known is None or (now < known if larger_allows_more else now > known):
            yield f"{where}: {name} was {'not set' if known is None else known}, is {now}"
    if "pattern" in after and after["pattern"] != before.get("pattern"):
        yield f"{where}: the pattern was {before.get('pattern', 'not set')}, is {after['pattern']}"


def contract_of_the_code() -> dict[str, Any]:
    """The OpenAPI document as the API serves it."""
    from api.app import create_app
    from api.settings import ApiSettings
    from jobs.blobs import BlobStore
    from jobs.store import JobStore

    settings = ApiSettings(s3_endpoint_url="http://127.0.0.1:9")
    document = create_app(JobStore.connect(settings), BlobStore.connect(settings), settings).openapi()
    said: dict[str, Any] = json.loads(json.dumps(document))
    return said


def text_of(document: Document) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def accept() -> int:
    """Write the code's contract over the published one, unless that breaks callers; the exit status."""
    new = contract_of_the_code()
    old = json.loads(SNAPSHOT.read_text()) if SNAPSHOT.exists() else {"paths": {}}
    broken = breaking_changes(old, new)
    for sentence in broken:
        sys.stderr.write(f"breaks callers: {sentence}\n")
    if not broken:
        SNAPSHOT.write_text(text_of(new))
        sys.stdout.write(f"{SNAPSHOT.name} is the contract of the code\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(accept())
