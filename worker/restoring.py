"""The engine over the pipeline: from bytes to outputs, in the job record's words. Knows no torch by itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
import structlog

from jobs.kinds import Kind
from jobs.model import Notice
from jobs.options import JobOptions
from pipeline.codec import Decode, Limits
from pipeline.errors import WeightsMissing
from pipeline.finding import Finds, find_faces
from pipeline.options import RestoreOptions
from pipeline.picture import Drawn
from pipeline.restoration import Report, Restores, process
from pipeline.thumbnail import thumbnail
from pipeline.types import Compute, OnProgress
from worker.bulk import Turns
from worker.engine import Outcome, Product
from worker.mapping import output_options, restore_options

logger = structlog.get_logger(__name__)

#: Side of the pictures that warm a worker up (px): an aligned face crop, and a small picture to search for faces.
WARM_UP_PX = 512


class Networks(Restores, Finds, Protocol):
    """What ``pipeline.restorer.Restorer`` can do."""


class Restoring:
    """The ``Engine`` over the networks; safe from several threads."""

    def __init__(
        self,
        restorer: Networks,
        *,
        name: str,
        models: Sequence[dict[str, Any]],
        max_pixels: int,
        large_pixels: int,
        decode: Decode,
        most_faces: int | None = None,
    ) -> None:
        self.name = name
        self._restorer = restorer
        self._models = tuple(models)
        self._most_faces = most_faces
        self._limits = Limits(max_pixels=max_pixels)
        self._turns = Turns(decode, large_pixels=large_pixels)

    def warm_up(self, compute: Compute) -> None:
        """Run a picture through what a job that names nothing needs.

        Raises:
            WeightsError: it cannot be loaded, and no other restorer is there either.
        """
        options = RestoreOptions(scale=1.0)
        try:
            self._restorer.require(options)
        except WeightsMissing as error:
            if not any(model.get("kind") == "restorer" for model in self._models):
                raise
            logger.warning("jobs that name no model will fail here", problem=str(error))
            return
        blank = Drawn(np.full((WARM_UP_PX, WARM_UP_PX, 3), 0.5, np.float32))
        for aligned in (False, True):
            self._restorer(blank, dataclasses.replace(options, aligned=aligned), compute=compute)

    def models(self) -> Sequence[dict[str, Any]]:
        return self._models

    def require(self, kind: Kind, options: JobOptions) -> None:
        """Refuse what cannot be honoured, before any work.

        Raises:
            WeightsMissing, UnsupportedOption: see the message.
        """
        if kind is Kind.DETECT:
            self._restorer.require_detector()
        else:
            self._restorer.require(restore_options(options))

    def run(
        self, kind: Kind, data: bytes, options: JobOptions, *, on_progress: OnProgress, compute: Compute
    ) -> Outcome:
        """Everything that was asked for.

        Raises:
            PipelineError: see ``pipeline.restoration.process`` and ``pipeline.finding.find_faces``; and what
                ``on_progress`` raises.
        """
        restore, find = partial(process, restorer=self._restorer), partial(find_faces, finder=self._restorer)
        go = find if kind is Kind.DETECT else restore
        with self._turns.decoder(on_progress) as decode:
            outputs = go(
                data,
                options=restore_options(options, most_faces=self._most_faces),
                output=output_options(options),
                limits=self._limits,
                decode=decode,
                on_progress=on_progress,
                compute=compute,
            )
        products = (
            Product(part=p.name, data=p.data, content_type=p.content_type, extension=p.extension) for p in outputs.parts
        )
        return _outcome(tuple(products), outputs.report)

    def thumbnail(self, data: bytes, *, page: int, on_progress: OnProgress) -> bytes:
        """A small JPEG of a page of a stranger's picture.

        Raises:
            PipelineError: it cannot be decoded; and what ``on_progress`` raises.
        """
        with self._turns.decoder(on_progress) as decode:
            return thumbnail(decode(data, limits=self._limits, page=page))


def _outcome(products: tuple[Product, ...], report: Report) -> Outcome:
    return Outcome(
        products=products,
        width=report.width,
        height=report.height,
        faces=tuple(dataclasses.asdict(face) for face in report.faces),
        warnings=tuple(Notice(code=notice.code, detail=notice.detail) for notice in report.warnings),
        model=report.model,
        seconds=report.seconds,
        megapixels=report.megapixels,
        input_sha256=report.input_sha256,
    )
