"""/docs: the OpenAPI document as one self-contained page. No scripts, nothing from elsewhere: it works offline."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from api import problems

router = APIRouter()

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"
_STYLE = """
:root { color-scheme: light dark; --paper: #faf8f5; --ink: #221d19; --line: #ddd5cc; --soft: #f1ece6; --link: #9c4716 }
@media (prefers-color-scheme: dark) {
  :root { --paper: #161311; --ink: #f1ece6; --line: #3d3731; --soft: #231f1b; --link: #f2a674 }
}
body { font: 16px/1.5 system-ui, sans-serif; background: var(--paper); color: var(--ink); margin: 0 }
main { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { margin-bottom: 0 }
a { color: var(--link) }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px }
h2 { margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: 1rem }
code, pre { font: 14px/1.45 ui-monospace, monospace }
pre { background: var(--soft); padding: .7rem; white-space: pre-wrap; border-radius: 6px }
code, pre, td { overflow-wrap: anywhere }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line) }
details { border: 1px solid var(--line); border-radius: 6px; padding: .4rem .8rem; margin: .5rem 0 }
summary { cursor: pointer }
@media (max-width: 40rem) {
  tr, td, th { display: block; border: 0; padding: 0 }
  tr { border-bottom: 1px solid var(--line); padding: .4rem 0 }
}
summary b { display: inline-block; min-width: 4.5rem }
"""
_CURL = """# a picture in your bucket
curl -sS -X POST {base}/v1/jobs -H 'Content-Type: application/json' \\
  -d '{{"input": "s3://photos/wedding.tif", "options": {{"scale": 2}}}}'
# a file
curl -sS {base}/v1/jobs -F file=@old.jpg -F scale=2
# only find its faces, so that you can choose among them
curl -sS {base}/v1/detect -F file=@group.jpg -F outputs=image,provenance
# watch it, then fetch it
curl -sSN {base}/v1/jobs/JOB/events
curl -sSL {base}/v1/jobs/JOB/result -o restored.jpg"""


@router.get("/docs", include_in_schema=False)
def documentation(request: Request) -> HTMLResponse:
    """Every call, option and error, as the OpenAPI document has them."""
    page = render(request.app.openapi(), base=str(request.base_url).rstrip("/"))
    return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})


def render(document: dict[str, Any], *, base: str) -> str:
    """The page's HTML."""
    info = document["info"]
    calls = [
        _call(document, method, path, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]
    options = document["components"]["schemas"]["JobRequest"]["properties"]["options"]["properties"]
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>photomend API</title>"
        f"<meta name=viewport content='width=device-width, initial-scale=1'><style>{_STYLE}</style><main>"
        f"<h1>photomend API</h1><p>Version {escape(info['version'])} · <a href=/openapi.json>OpenAPI</a></p>"
        f"<p>{escape(info['description'])}</p><h2>In short</h2><pre>{escape(_CURL.format(base=base))}</pre>"
        f"<h2>Calls</h2>{''.join(calls)}<h2>Options</h2>{_options(options)}<h2>Errors</h2>{_errors()}</main></html>"
    )


def _call(document: dict[str, Any], method: str, path: str, operation: dict[str, Any]) -> str:
    parameters = "".join(
        f"<tr><td><code>{escape(p['name'])}</code><td>{p['in']}<td>{escape(_parameter(p))}"
        for p in operation.get("parameters", [])
    )
    answers = "".join(
        f"<tr><td>{status}<td>{escape(answer['description'])}<td>{_codes(answer)}"
        for status, answer in sorted(operation["responses"].items())
    )
    title = f"<b>{method.upper()}</b> <code>{escape(path)}</code> {escape(operation['summary'])}"
    return (
        f"<details><summary>{title}</summary>"
        f"<p>{escape(operation.get('description', ''))}</p>"
        + (f"<table>{parameters}</table>" if parameters else "")
        + "".join(f"<pre>{escape(text)}</pre>" for text in _bodies(document, operation))
        + f"<table>{answers}</table></details>"
    )


def _parameter(parameter: dict[str, Any]) -> str:
    schema = parameter["schema"]
    said = parameter.get("description") or schema.get("description") or ""
    default = schema.get("default")
    return said if default is None else f"{said} (default {default})"


def _codes(answer: dict[str, Any]) -> str:
    examples = answer.get("content", {}).get(problems.MEDIA_TYPE, {}).get("examples", {})
    return ", ".join(f"<a href='#{code}'><code>{code}</code></a>" for code in examples)


def _bodies(document: dict[str, Any], operation: dict[str, Any]) -> list[str]:
    """Examples of what to send and of what comes back."""
    found = []
    for media in operation.get("requestBody", {}).get("content", {}).values():
        found += [_json(example) for example in _examples(document, media)]
    for status, answer in operation["responses"].items():
        if status.startswith("2"):
            found += [
                f"{status}\n{_json(e)}" for m in answer.get("content", {}).values() for e in _examples(document, m)
            ]
    return found


def _examples(document: dict[str, Any], media: dict[str, Any]) -> list[Any]:
    if "examples" in media:
        return [example["value"] for example in media["examples"].values()]
    if "example" in media:
        return [media["example"]]
    name = media.get("schema", {}).get("$ref", "").rpartition("/")[2]
    examples: list[Any] = document["components"]["schemas"].get(name, {}).get("examples", [])
    return examples


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


def _options(options: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{name}</code><td>{escape(_values(schema))}<td><code>{escape(json.dumps(schema['default']))}</code>"
        for name, schema in options.items()
    )
    return f"<table><tr><th>option<th>values<th>default{rows}</table>"


def _values(schema: dict[str, Any]) -> str:
    if "anyOf" in schema and "type" not in schema:
        return " or ".join(_values(one) for one in schema["anyOf"] if one.get("type") != "null")
    if "description" in schema:
        return str(schema["description"])
    words = schema.get("enum") or schema.get("items", {}).get("enum")
    if words:
        return ", ".join(map(str, words))
    if "minimum" in schema:
        return f"{schema['minimum']:g} to {schema['maximum']:g}"
    return str(schema["type"])


def _errors() -> str:
    rows = "".join(
        f"<tr id='{code}'><td><code>{code}</code><td>{row.status}<td>{escape(row.title)}. {escape(row.detail)}"
        for code, row in sorted(problems.TABLE.items(), key=lambda item: item[1].status)
    )
    return f"<table><tr><th>code<th>status<th>meaning{rows}</table>"
