"""Bodies at the door: read with a bound, parsed strictly, and a file looked at before it is stored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, BinaryIO

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from api.problems import Problem
from jobs.faces import choice_from_text
from jobs.options import BOOLS, FLOATS, INTS, OPTIONAL, JobOptions
from jobs.sniffing import SNIFF_BYTES, sniff

#: What the parts around a file (boundaries, headers, wishes) may add to it.
MULTIPART_SLACK = 128 * 1024
_CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedFile:
    """A file that a caller sent, spooled to disk when it is large."""

    data: BinaryIO  #: at its beginning
    size: int  #: bytes
    sha256: str
    content_type: str  #: by its first bytes, whatever the caller said
    name: str | None  #: as the caller calls it: not to be trusted


async def bounded(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    """The body's chunks; counted, because Content-Length may lie or be absent.

    Raises:
        Problem: ``body_too_large``, before the first byte where the length is declared.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    seen = 0
    async for chunk in request.stream():
        seen += len(chunk)
        if seen > limit:
            raise _too_large(limit)
        yield chunk


def _too_large(limit: int) -> Problem:
    return Problem("body_too_large", f"The body may have at most {limit} bytes here.")


async def read_json(request: Request, limit: int) -> dict[str, Any]:
    """The JSON object that the body holds.

    Raises:
        Problem: ``unsupported_media_type``, ``body_too_large`` or ``malformed_body``.
    """
    if media_type(request) != "application/json":
        raise Problem("unsupported_media_type", "Send application/json.")
    return parse_json(b"".join([chunk async for chunk in bounded(request, limit)]))


def media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def parse_json(text: bytes | str) -> dict[str, Any]:
    """A JSON object, strictly: no member twice, no NaN, no text that UTF-8 can't carry.

    Raises:
        Problem: ``malformed_body``.
    """
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
        json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as err:
        raise Problem("malformed_body", "The JSON is nested too deeply.") from err
    except UnicodeError as err:
        raise Problem("malformed_body", "The JSON holds text that is not valid UTF-8.") from err
    except json.JSONDecodeError as err:
        raise Problem("malformed_body", f"The body is not valid JSON: {err}.") from err
    except ValueError as err:
        # Python's own limit on digits, or ours: see the hooks.
        said = err if isinstance(err, _NotJson) else "a number has too many digits"
        raise Problem("malformed_body", f"The body is not valid JSON: {said}.") from err
    if not isinstance(value, dict):
        raise Problem("malformed_body", "The JSON must be an object.")
    return value


class _NotJson(ValueError):
    """Raised by the hooks for what Python's parser would take."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _NotJson("a member is there twice")
    return members


def _no_constant(word: str) -> Any:
    raise _NotJson(f"{word} is not JSON")


async def read_form(request: Request, max_file_bytes: int) -> FormData:
    """The multipart form; close it after use. A file is spooled to disk, never held whole in memory.

    Raises:
        Problem: ``body_too_large`` or ``malformed_body``.
    """
    stream = bounded(request, max_file_bytes + MULTIPART_SLACK)
    try:
        return await MultiPartParser(
            request.headers, stream, max_files=1, max_fields=64, max_part_size=MULTIPART_SLACK
        ).parse()
    except MultiPartException as err:
        raise Problem("malformed_body", f"The multipart form is not valid: {err.message}") from err


def received_file(form: FormData, max_file_bytes: int) -> ReceivedFile:
    """The form's ``file``, looked at and hashed. Blocks on the disk: call it in a thread.

    Raises:
        Problem: ``invalid_request`` without a file, ``body_too_large``, or ``image_unreadable``.
    """
    part = form.get("file")
    if not isinstance(part, UploadFile):
        raise Problem("invalid_request", "Send the picture as a part named file, with a file name.", pointer="/file")
    head = part.file.read(SNIFF_BYTES)
    kind = sniff(head)
    if kind is None:
        raise Problem("image_unreadable", pointer="/file")
    digest, size = hashlib.sha256(head), len(head)
    while chunk := part.file.read(_CHUNK):
        digest.update(chunk)
        size += len(chunk)
    if size > max_file_bytes:
        raise Problem("body_too_large", f"A file may have at most {max_file_bytes} bytes.", pointer="/file")
    part.file.seek(0)
    return ReceivedFile(data=part.file, size=size, sha256=digest.hexdigest(), content_type=kind, name=part.filename)


def wishes_from_form(form: FormData) -> dict[str, Any]:
    """What the form says beside the file: one ``request`` part of JSON, or plain fields as curl sends them.

    Plain fields are option names, ``priority``, ``deadline_s`` and ``callback_url``; ``outputs`` and ``faces`` are
    comma lists.

    Raises:
        Problem: ``malformed_body`` or ``invalid_request``.
    """
    names = [name for name, _ in form.multi_items()]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise Problem("invalid_request", f"The part {twice!r} is there twice.", pointer=f"/{twice}")
    fields = {name: value for name, value in form.items() if name != "file"}
    unusable = next((name for name, value in fields.items() if not isinstance(value, str)), None)
    if unusable is not None:
        raise Problem("invalid_request", f"{unusable} is sent as a file; only file is one.", pointer=f"/{unusable}")
    texts = {name: str(value) for name, value in fields.items()}
    if "request" not in texts:
        return _plain_fields(texts)
    if len(texts) > 1:
        raise Problem("invalid_request", "Send either one request part or plain fields, not both.", pointer="/request")
    return parse_json(texts["request"])


def _plain_fields(texts: dict[str, str]) -> dict[str, Any]:
    wishes: dict[str, Any] = {}
    options: dict[str, Any] = {}
    known = set(JobOptions().to_mapping())
    for name, text in texts.items():
        if name in known:
            options[name] = _option_value(name, text)
        elif name == "callback_url":
            wishes["callback"] = {"url": text}
        elif name == "deadline_s":
            wishes[name] = _number(text)
        else:
            wishes[name] = text
    return wishes | ({"options": options} if options else {})


def _option_value(name: str, text: str) -> Any:
    """The field's text as the option's type, or the text itself, which the option's own check then refuses."""
    if name in OPTIONAL and text == "":
        return None
    if name in INTS or name in FLOATS:
        return _number(text)
    if name in BOOLS:
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
    if name == "faces":
        return choice_from_text(text)
    if name == "outputs":
        return [part.strip() for part in text.split(",")]
    return text


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
