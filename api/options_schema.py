"""JSON Schema of the options, from the same tables that check them."""

from __future__ import annotations

import dataclasses
from typing import Any

from jobs.options import BIT_DEPTHS, CHOICES, FLOATS, INTS, MAX_SUFFIX, OPTIONAL, OUTPUTS, RANGES, TILE_PX, JobOptions


def options_schema() -> dict[str, Any]:
    """What a job's ``options`` may hold."""
    properties = {f.name: _option_schema(f.name, f.default) for f in dataclasses.fields(JobOptions)}
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
    elif name == "outputs":
        schema = {
            "type": "array",
            "items": {"type": "string", "enum": list(OUTPUTS)},
            "minItems": 1,
            "uniqueItems": True,
        }
    if name in CHOICES:
        schema["enum"] = list(CHOICES[name])
    if name == "bit_depth":
        schema = {"enum": [*BIT_DEPTHS, 8, 16]}
    if name in RANGES:
        schema |= dict(zip(("minimum", "maximum"), RANGES[name], strict=True))
    if name == "suffix":
        schema |= {"maxLength": MAX_SUFFIX, "pattern": r"^[\w.\-]*$"}
    if name == "tile_px":
        schema |= {"anyOf": [{"const": 0}, dict(zip(("minimum", "maximum"), TILE_PX, strict=True))]}
    if name in OPTIONAL:
        schema = {"anyOf": [schema, {"type": "null"}]}
    return schema | {"default": list(default) if isinstance(default, tuple) else default}
