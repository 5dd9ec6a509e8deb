"""The sidecar that says what was done to a picture: inputs, outputs, weights, options, faces; no clock times.

Stable: the same input, options, weights and versions give the same bytes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from pipeline import vips
from pipeline.encode import Encoded
from pipeline.options import DETECTION, OutputOptions, RestoreOptions
from pipeline.render import Rendered
from pipeline.source import SourceImage
from pipeline.types import Detection, FaceRecord, Notice, Restoration
from pipeline.xmp import Deed, SourceType

#: Grows when a reader of the old form could misread the new one.
SCHEMA = "photomend/provenance/1"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """All that is known about one finished picture."""

    data: bytes  #: the input file
    source: SourceImage
    restoration: Restoration
    encoded: Encoded
    source_type: SourceType | None
    options: RestoreOptions
    output: OutputOptions
    warnings: tuple[Notice, ...]


def sidecar(evidence: Evidence) -> bytes:
    """The record as UTF-8 JSON, keys in a fixed order."""
    record = {
        "schema": SCHEMA,
        "kind": "restore",
        "input": _input(evidence.data, evidence.source),
        "output": _output(evidence.encoded, evidence.source_type),
        "options": _words(evidence.options) | _words(evidence.output),
        "model": evidence.restoration.model,
        "versions": versions(),
        "faces": [_face(face) for face in evidence.restoration.faces],
        "warnings": [dataclasses.asdict(notice) for notice in evidence.warnings],
    }
    return _text(record)


def _text(record: dict[str, Any]) -> bytes:
    return json.dumps(record, indent=2, ensure_ascii=False, default=_json).encode() + b"\n"


def detection_sidecar(
    data: bytes,
    source: SourceImage,
    detection: Detection,
    *,
    options: RestoreOptions,
    output: OutputOptions,
    warnings: tuple[Notice, ...],
) -> bytes:
    """The record of a picture that was only looked at: the same form, without what only a result has."""
    wishes = {name: getattr(options, name) for name in DETECTION} | {"outputs": output.outputs}
    record = {
        "schema": SCHEMA,
        "kind": "detect",
        "input": _input(data, source),
        "output": None,
        "options": wishes,
        "model": detection.model,
        "versions": versions(),
        "faces": [_face(face) for face in detection.faces],
        "warnings": [dataclasses.asdict(notice) for notice in warnings],
    }
    return _text(record)


def source_type_of(rendered: Rendered) -> SourceType | None:
    """How to label the result: a composite where a network's face pixels came in, enhanced where only others did.

    None where no network changed a pixel: resampling alone is not named by IPTC's terms.
    """
    if not rendered.changed_px:
        return None
    return SourceType.COMPOSITE if rendered.face_px else SourceType.ENHANCED


def deed(model: dict[str, Any], *, input_sha256: str, options: RestoreOptions, output: OutputOptions) -> Deed:
    """What the result's own history says: what it is made of, by which weights and options. Named for what it is."""
    wishes = json.dumps(_words(options) | _words(output), sort_keys=True, separators=(",", ":"), default=_json)
    weights = [part for part in (model, *model.values()) if isinstance(part, dict) and "sha256" in part]
    told = [
        f"AI face reconstruction by {model['name']}",
        f"source SHA-256 {input_sha256}",
        *(f"weights {part['name']} SHA-256 {part['sha256']}" for part in weights),
        f"options SHA-256 {hashlib.sha256(wishes.encode()).hexdigest()}",
    ]
    return Deed(agent=f"photomend {versions()['photomend']}", parameters="; ".join(told))


def versions() -> dict[str, str | None]:
    """What computed the pixels; None = not installed."""
    return {
        "photomend": _version("photomend") or "source",
        "torch": _version("torch") or "source",
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "libvips": vips.version(),
        "openvino": _version("openvino"),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _input(data: bytes, source: SourceImage) -> dict[str, Any]:
    profile = source.space.profile
    return {
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "format": str(source.format),
        "width": source.width,
        "height": source.height,
        "bit_depth": source.header.file_bits,
        "colour": str(source.space.kind),
        "alpha": source.alpha is not None,
        "icc_sha256": hashlib.sha256(profile).hexdigest() if profile else None,
        "orientation": source.header.orientation,
    }


def _output(encoded: Encoded, source_type: SourceType | None) -> dict[str, Any]:
    return {
        "sha256": hashlib.sha256(encoded.data).hexdigest(),
        "bytes": len(encoded.data),
        "format": str(encoded.format),
        "width": encoded.width,
        "height": encoded.height,
        "bit_depth": encoded.bit_depth,
        "colour": str(encoded.space.kind),
        "pixels_changed": encoded.changed_px,
        "digital_source_type": str(source_type) if source_type else None,
    }


def _face(face: FaceRecord) -> dict[str, Any]:
    """Everything but how long it took, which is not the same in the next run."""
    words = dataclasses.asdict(face)
    del words["seconds"]
    return words


def _words(options: RestoreOptions | OutputOptions) -> dict[str, Any]:
    """Every wish but ``keep_crops``, which follows from ``outputs``."""
    return {f.name: getattr(options, f.name) for f in dataclasses.fields(options) if f.name != "keep_crops"}


def _json(value: Any) -> Any:
    """Numpy's scalars, which face records may hold."""
    return value.item()
