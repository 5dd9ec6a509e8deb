"""What a job does with its picture: restore it, or only find the faces in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from jobs.errors import InvalidOption
from jobs.options import JobOptions


class Kind(StrEnum):
    """What is done with the picture."""

    RESTORE = "restore"
    DETECT = "detect"  #: its faces are found and told of; nothing is changed


#: What a detection can honour: which faces a restoration with the same words would take, and what to hand out.
DETECT_OPTIONS = frozenset(
    {"faces", "min_face_px", "max_face_px", "max_faces", "min_score", "rotate", "page", "outputs"}
)
#: The picture with the faces marked, to look at, and the record of what was found.
DETECT_OUTPUTS = ("image", "provenance")


def options_for(kind: Kind, wishes: Mapping[str, Any]) -> JobOptions:
    """The options of a job of this kind from JSON words; what is not said has the kind's default.

    Raises:
        InvalidOption: an unknown name, a wrong value, or one that a job of this kind cannot honour.
    """
    if kind is Kind.RESTORE:
        return JobOptions.from_mapping(wishes)
    options = JobOptions.from_mapping({"outputs": ["provenance"]} | dict(wishes))
    idle = [
        field.name
        for field in dataclasses.fields(options)
        if field.name not in DETECT_OPTIONS and getattr(options, field.name) != field.default
    ]
    if idle:
        raise InvalidOption(f"{idle[0]} means nothing to a job that only finds faces", pointer=f"/options/{idle[0]}")
    strange = [part for part in options.outputs if part not in DETECT_OUTPUTS]
    if strange:
        raise InvalidOption(
            f"a job that only finds faces makes {' and '.join(DETECT_OUTPUTS)}, not {strange[0]}",
            pointer="/options/outputs",
        )
    return options


def options_shown(kind: Kind, options: JobOptions) -> dict[str, Any]:
    """The options that a job of this kind honours, as JSON words."""
    words = options.to_mapping()
    return words if kind is Kind.RESTORE else {name: words[name] for name in words if name in DETECT_OPTIONS}
