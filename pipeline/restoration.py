"""The whole way from a file's bytes to everything asked for; worker and ``photomend restore`` both go it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from pipeline import encode, provenance, scratch, vips
from pipeline.codec import DEFAULT_LIMITS, Decode, Limits, SourceImage, plan, read
from pipeline.colour import Plane
from pipeline.comparison import OverWhite, half_size, over_white, side_by_side
from pipeline.geometry import output_size
from pipeline.options import OutputOptions, RestoreOptions
from pipeline.picture import Picture, resized
from pipeline.provenance import Evidence
from pipeline.render import Rendered, quantised, render
from pipeline.resize import PassingBy
from pipeline.types import (
    Canvas,
    Compute,
    FaceCrop,
    FaceRecord,
    FloatImage,
    Notice,
    OnProgress,
    Restoration,
    Stage,
    compute_here,
)

#: Part of the encoding's progress that is painting; the rest is compression, which tells nothing.
RENDERING = 0.5


class Restores(Protocol):
    """What ``pipeline.restorer.Restorer`` does; named here so that a test may put another in its place."""

    def require(self, options: RestoreOptions) -> None: ...

    def __call__(
        self,
        picture: Picture,
        options: RestoreOptions,
        *,
        on_progress: OnProgress | None = None,
        compute: Compute = compute_here,
    ) -> Restoration: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file that was asked for."""

    name: str  #: image, mask, comparison, provenance, ``faces/0`` (restored), ``faces/0-before``
    data: scratch.Data
    content_type: str
    extension: str  #: without the dot


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What happened, for the job record and the terminal."""

    width: int  #: of the result, px
    height: int
    megapixels: float  #: of the input
    input_sha256: str
    faces: tuple[FaceRecord, ...]
    warnings: tuple[Notice, ...]
    seconds: dict[str, float]  #: stage → seconds
    model: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """Everything that was asked for, in a fixed order: image, mask, comparison, faces, provenance."""

    parts: tuple[Part, ...]
    report: Report

    def part(self, name: str) -> Part:
        """Raises ``KeyError`` where it was not asked for."""
        return {part.name: part for part in self.parts}[name]


def process(
    data: bytes,
    *,
    options: RestoreOptions,
    output: OutputOptions,
    restorer: Restores,
    limits: Limits = DEFAULT_LIMITS,
    decode: Decode = read,
    on_progress: OnProgress | None = None,
    compute: Compute = compute_here,
) -> Outputs:
    """Decode, restore, encode.

    Args:
        data: the file.
        options: how to restore.
        output: what to hand out, and in which format.
        restorer: the networks.
        limits: what is refused before decoding.
        decode: how the file becomes a picture; a stranger's is decoded where it can do no harm.
        on_progress: told of every stage, decode and encode included; what it raises stops the work.
        compute: where device work runs.

    Raises:
        UnreadableImage, TruncatedImage, ImageTooLarge: the input.
        UnsupportedOption, WeightsMissing: the wishes; before any work.
        PipelineError: others, from the networks.
    """
    clock = Stopwatch(on_progress)
    restorer.require(options)
    with clock.stage(Stage.DECODE):
        source = decode(data, limits=limits, page=options.page)
        # What cannot be written is refused before the networks work for it.
        width, height = output_size(source.width, source.height, options.scale)
        wanted = plan(source, width=width, height=height, options=output)
    restoration = restorer(source.picture, options, on_progress=on_progress, compute=compute)
    with clock.stage(Stage.ENCODE):
        wanted = encode.in_colour(wanted, source, restoration.canvas)
        beside = _Beside(source, restoration.canvas) if "comparison" in output.outputs else None
        rendered = render(
            source,
            restoration.canvas,
            space=wanted.space,
            depth=wanted.depth,
            alpha=wanted.alpha,
            on_band=beside.add if beside else None,
            on_fraction=lambda fraction: clock.on_fraction(Stage.ENCODE, fraction * RENDERING),
        )
        source_type = provenance.source_type_of(rendered)
        input_sha256 = hashlib.sha256(data).hexdigest()
        deed = provenance.deed(restoration.model, input_sha256=input_sha256, options=options, output=output)
        encoded = encode.encode(source, rendered, wanted, options=output, source_type=source_type, deed=deed)
        evidence = Evidence(
            data=data,
            source=source,
            restoration=restoration,
            encoded=encoded,
            source_type=source_type,
            options=options,
            output=output,
            warnings=source.notices + restoration.warnings + encoded.notices,
        )
        parts = _parts(evidence, rendered, beside)
    return Outputs(
        parts=parts,
        report=Report(
            width=evidence.encoded.width,
            height=evidence.encoded.height,
            megapixels=source.header.megapixels,
            input_sha256=input_sha256,
            faces=restoration.faces,
            warnings=evidence.warnings,
            seconds={str(stage): took for stage, took in (restoration.seconds | clock.seconds).items()},
            model=restoration.model,
        ),
    )


class _Beside:
    """The comparison of a source with its result, made while the result goes by in bands."""

    def __init__(self, source: SourceImage, canvas: Canvas) -> None:
        final = canvas.width, canvas.height
        self._size = half_size(*final)
        self._before = source.picture if source.alpha is None else OverWhite(source.picture, source.alpha)
        self._after = PassingBy(final, self._size, channels=3)

    def add(self, image: FloatImage, alpha: Plane | None) -> None:
        """The result's next rows."""
        self._after.add(over_white(image, alpha))

    def picture(self) -> FloatImage:
        """Before and after, when all rows have gone by."""
        return side_by_side(resized(self._before, *self._size), self._after.copy)


def _parts(evidence: Evidence, rendered: Rendered, beside: _Beside | None) -> tuple[Part, ...]:
    wanted = evidence.output.outputs
    parts: list[Part] = []
    if "image" in wanted:
        encoded = evidence.encoded
        parts.append(
            Part(name="image", data=encoded.data, content_type=encoded.content_type, extension=encoded.extension)
        )
    if "mask" in wanted:
        parts.append(_png("mask", rendered.mask))
    if beside is not None:
        parts.append(_png("comparison", _bytes_of(beside.picture())))
    if "faces" in wanted:
        for crop in evidence.restoration.crops:
            parts += _faces(crop)
    if "provenance" in wanted:
        record = provenance.sidecar(evidence)
        parts.append(Part(name="provenance", data=record, content_type="application/json", extension="json"))
    return tuple(parts)


def _faces(crop: FaceCrop) -> list[Part]:
    return [
        _png(f"faces/{crop.index}", _bytes_of(crop.after)),
        _png(f"faces/{crop.index}-before", _bytes_of(crop.before)),
    ]


def face_comparisons(outputs: Outputs) -> tuple[Part, ...]:
    """``cmp/0``, …: each face before and after, side by side; from the ``faces`` outputs."""
    names = [
        part.name for part in outputs.parts if part.name.startswith("faces/") and not part.name.endswith("-before")
    ]
    return tuple(_png(name.replace("faces/", "cmp/"), _beside(outputs, name)) for name in names)


def _beside(outputs: Outputs, name: str) -> vips.Samples:
    halves = [read(bytes(outputs.part(part).data)).samples for part in (f"{name}-before", name)]
    return np.concatenate(halves, axis=1)


def _bytes_of(image: FloatImage) -> vips.Samples:
    return quantised(image, 8)


def _png(name: str, samples: vips.Samples) -> Part:
    interpretation = "b-w" if samples.shape[2] == 1 else "srgb"
    # For eyes, not for archives: half the time for 4 % more bytes.
    data = vips.save(vips.picture(samples, interpretation), "png", compression=3, filter="paeth")
    return Part(name=name, data=data, content_type="image/png", extension="png")


class Stopwatch:
    """Times our own stages and tells of their begin and end."""

    def __init__(self, on_progress: OnProgress | None) -> None:
        self._tell = on_progress
        self.seconds: dict[Stage, float] = {}

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[None]:
        self.on_fraction(stage, 0.0)
        started = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - started
        self.on_fraction(stage, 1.0)

    def on_fraction(self, stage: Stage, fraction: float) -> None:
        """Tell how much of a stage is done; this is where ``Cancelled`` comes from."""
        if self._tell:
            self._tell(stage, fraction)
