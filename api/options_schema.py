"""JSON Schema of the options, from the same tables that check them."""

from __future__ import annotations

import dataclasses
from typing import Any

from jobs.faces import FACE_ID, FACE_WORDS, FARTHEST_PX, MAX_CHOSEN
from jobs.kinds import DETECT_OPTIONS, DETECT_OUTPUTS
from jobs.options import BIT_DEPTHS, CHOICES, FLOATS, INTS, MAX_SUFFIX, OPTIONAL, OUTPUTS, RANGES, TILE_PX, JobOptions

_NUMBER = {"type": "number", "minimum": -FARTHEST_PX, "maximum": FARTHEST_PX}
_FACES = {
    "anyOf": [
        {"type": "string", "enum": list(FACE_WORDS)},
        {
            "type": "array",
            "description": "Ids from a detection, and boxes x0, y0, x1, y1 in px of the input",
            "minItems": 1,
            "maxItems": MAX_CHOSEN,
            "items": {
                "anyOf": [
                    {"type": "string", "pattern": f"^{FACE_ID}$"},
                    {"type": "array", "items": _NUMBER, "minItems": 4, "maxItems": 4},
                ]
            },
        },
    ]
}
#: Options whose values are more than one word or number.
_OWN: dict[str, dict[str, Any]] = {
    "faces": _FACES,
    "bit_depth": {"enum": [*BIT_DEPTHS, 8, 16]},
    "outputs": {
        "type": "array",
        "items": {"type": "string", "enum": list(OUTPUTS)},
        "minItems": 1,
        "uniqueItems": True,
    },
}


def options_schema() -> dict[str, Any]:
    """What a job's ``options`` may hold."""
    return _schema({f.name: _option_schema(f.name, f.default) for f in dataclasses.fields(JobOptions)})


def detect_options_schema() -> dict[str, Any]:
    """What the ``options`` of a job that only finds faces may hold: others at their defaults are taken, too."""
    properties = {
        f.name: _option_schema(f.name, f.default) for f in dataclasses.fields(JobOptions) if f.name in DETECT_OPTIONS
    }
    outputs = {"items": {"type": "string", "enum": list(DETECT_OUTPUTS)}, "default": ["provenance"]}
    return _schema(properties | {"outputs": properties["outputs"] | outputs})


def _schema(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "title": "Options",
        "description": "Wishes about the picture; what is not said has its default.",
        "additionalProperties": False,
        "properties": properties,
    }


def _option_schema(name: str, default: Any) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    if name in INTS or name in FLOATS:
        schema = {"type": "integer" if name in INTS else "number"}
    elif isinstance(default, bool):
        schema = {"type": "boolean"}
    elif name in _OWN:
        schema = dict(_OWN[name])
    elif name in CHOICES:
        schema["enum"] = list(CHOICES[name])
    if name in RANGES:
        schema |= dict(zip(("minimum", "maximum"), RANGES[name], strict=True))
    if name == "suffix":
        schema |= {"maxLength": MAX_SUFFIX, "pattern": r"^[\w.\-]*$"}
    if name == "tile_px":
        schema |= {"anyOf": [{"const": 0}, dict(zip(("minimum", "maximum"), TILE_PX, strict=True))]}
    if name in OPTIONAL:
        schema = {"anyOf": [schema, {"type": "null"}]}
    return schema | {"default": list(default) if isinstance(default, tuple) else default}
