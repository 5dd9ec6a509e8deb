"""What a worker runs a picture through: the port that ``run.py`` needs, and the real one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from jobs.kinds import Kind
from jobs.model import Notice
from jobs.options import JobOptions
from pipeline.scratch import Data
from pipeline.types import Compute, OnProgress


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One finished output."""

    part: str  #: ``image``, ``mask``, ``comparison``, ``provenance``, ``faces/0``
    data: Data
    content_type: str
    extension: str  #: without the dot


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Everything that came out of one picture, in the job record's words."""

    products: tuple[Product, ...]
    width: int  #: px
    height: int  #: px
    faces: tuple[dict[str, Any], ...] = ()
    warnings: tuple[Notice, ...] = ()
    model: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)  #: per stage
    megapixels: float = 0.0  #: of the input
    input_sha256: str | None = None


class Engine(Protocol):
    """Restores pictures; safe from several threads, device work only through ``compute``."""

    name: str  #: what computes, such as ``torch 2.13 cpu``

    def warm_up(self, compute: Compute) -> None:
        """Load what a job that names nothing needs, so that the first job finds it ready; raises ``WeightsError``."""

    def models(self) -> Sequence[dict[str, Any]]:
        """The models that can be used here."""

    def require(self, kind: Kind, options: JobOptions) -> None:
        """Raise ``WeightsMissing`` or ``UnsupportedOption`` for what cannot be honoured, before any work."""

    def run(
        self, kind: Kind, data: bytes, options: JobOptions, *, on_progress: OnProgress, compute: Compute
    ) -> Outcome:
        """Do with the picture what a job of this kind does."""

    def thumbnail(self, data: bytes, *, page: int, on_progress: OnProgress) -> bytes:
        """A small JPEG of a page (1 = first) of a stranger's picture; raises ``PipelineError``."""
