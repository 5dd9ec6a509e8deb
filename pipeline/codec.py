"""Bytes to pictures and back: the names that the rest of the house uses.

``read`` and ``probe`` are in ``decode.py``, ``write`` in ``encode.py``; libvips is behind ``vips.py``.
"""

from __future__ import annotations

from pipeline.decode import DEFAULT_LIMITS, Decode, Limits, probe, read
from pipeline.encode import Encoded, plan, write
from pipeline.formats import Format
from pipeline.source import Header, SourceImage

__all__ = [
    "DEFAULT_LIMITS",
    "Decode",
    "Encoded",
    "Format",
    "Header",
    "Limits",
    "SourceImage",
    "plan",
    "probe",
    "read",
    "write",
]
