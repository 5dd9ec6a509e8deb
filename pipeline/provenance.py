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
from numpy.typing import NDArray

from pipeline import vips
from pipeline.encode import Encoded
from pipeline.metadata import SourceType
from pipeline.options import OutputOptions, RestoreOptions
from pipeline.source import SourceImage
from pipeline.types import Notice, Restoration

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
        "input": _input(evidence.data, evidence.source),
        "output": _output(evidence.encoded, evidence.source_type),
        "options": _words(evidence.options) | _words(evidence.output),
        "model": evidence.restoration.model,
        "versions": versions(),
        "faces": [dataclasses.asdict(face) for face in evidence.restoration.faces],
        "warnings": [dataclasses.asdict(notice) for notice in evidence.warnings],
    }
    return json.dumps(record, indent=2, ensure_ascii=False, default=_json).encode() + b"\n"


def source_type_of(altered: NDArray[np.bool_], restoration: Restoration) -> SourceType | None:
    """How to label the result: a composite where a network's face pixels came in, enhanced where only others did.

    None where no network changed a pixel: resampling alone is not named by IPTC's terms.
    """
    if not np.any(altered):
        return None
    mixed = np.any(altered & (restoration.changed > 0))
    return SourceType.COMPOSITE if mixed else SourceType.ENHANCED


def versions() -> dict[str, str]:
    """What computed the pixels."""
    return {
        "photomend": _version("photomend"),
        "torch": _version("torch"),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "libvips": vips.version(),
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "source"


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
        "pixels_changed": int(np.count_nonzero(encoded.altered)),
        "digital_source_type": str(source_type) if source_type else None,
    }


def _words(options: RestoreOptions | OutputOptions) -> dict[str, Any]:
    """Every wish but ``keep_crops``, which follows from ``outputs``."""
    return {f.name: getattr(options, f.name) for f in dataclasses.fields(options) if f.name != "keep_crops"}


def _json(value: Any) -> Any:
    """Numpy's scalars, which face records may hold."""
    return value.item()
