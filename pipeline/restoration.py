"""The whole way from a file's bytes to everything asked for; worker and ``photomend restore`` both go it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from pipeline import encode, provenance, vips
from pipeline.codec import DEFAULT_LIMITS, Encoded, Limits, SourceImage, plan, read
from pipeline.comparison import over_white, side_by_side
from pipeline.geometry import output_size
from pipeline.options import OutputOptions, RestoreOptions
from pipeline.provenance import Evidence
from pipeline.types import (
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

#: Values of the mask: which hand changed the pixel.
MASK_UPSAMPLER, MASK_FACE = 128, 255


class Restores(Protocol):
    """What ``pipeline.restorer.Restorer`` does; named here so that a test may put another in its place."""

    def require(self, options: RestoreOptions) -> None: ...

    def __call__(
        self,
        image: FloatImage,
        options: RestoreOptions,
        *,
        on_progress: OnProgress | None = None,
        compute: Compute = compute_here,
    ) -> Restoration: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file that was asked for."""

    name: str  #: image, mask, comparison, provenance, ``faces/0`` (restored), ``faces/0-before``
    data: bytes
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
        on_progress: told of every stage, decode and encode included; what it raises stops the work.
        compute: where device work runs.

    Raises:
        UnreadableImage, TruncatedImage, ImageTooLarge: the input.
        UnsupportedOption, WeightsMissing: the wishes; before any work.
        PipelineError: others, from the networks.
    """
    clock = _Stopwatch(on_progress)
    restorer.require(options)
    with clock.stage(Stage.DECODE):
        source = read(data, limits=limits)
        _require_writable(source, options, output)
    restoration = restorer(source.working, options, on_progress=on_progress, compute=compute)
    with clock.stage(Stage.ENCODE):
        evidence = _encoded(data, source, restoration, options, output)
        parts = _parts(evidence)
    return Outputs(
        parts=parts,
        report=Report(
            width=evidence.encoded.width,
            height=evidence.encoded.height,
            megapixels=source.header.megapixels,
            input_sha256=hashlib.sha256(data).hexdigest(),
            faces=restoration.faces,
            warnings=evidence.warnings,
            seconds={str(stage): took for stage, took in (restoration.seconds | clock.seconds).items()},
            model=restoration.model,
        ),
    )


def _require_writable(source: SourceImage, options: RestoreOptions, output: OutputOptions) -> None:
    """Refuse what cannot be written before the networks work for it."""
    width, height = output_size(source.width, source.height, options.scale)
    plan(source, width=width, height=height, options=output)


def _encoded(
    data: bytes, source: SourceImage, restoration: Restoration, options: RestoreOptions, output: OutputOptions
) -> Evidence:
    height, width = restoration.image.shape[:2]
    wanted = plan(source, width=width, height=height, options=output)
    rendered = encode.render(source, restoration.image, wanted)
    source_type = provenance.source_type_of(rendered.altered, restoration)
    encoded = encode.encode(source, rendered, options=output, source_type=source_type)
    return Evidence(
        data=data,
        source=source,
        restoration=restoration,
        encoded=encoded,
        source_type=source_type,
        options=options,
        output=output,
        warnings=source.notices + restoration.warnings + encoded.notices,
    )


def _parts(evidence: Evidence) -> tuple[Part, ...]:
    wanted = evidence.output.outputs
    parts: list[Part] = []
    if "image" in wanted:
        encoded = evidence.encoded
        parts.append(
            Part(name="image", data=encoded.data, content_type=encoded.content_type, extension=encoded.extension)
        )
    if "mask" in wanted:
        parts.append(_png("mask", mask(evidence.encoded, evidence.restoration)))
    if "comparison" in wanted:
        parts.append(_png("comparison", _bytes_of(_comparison(evidence))))
    if "faces" in wanted:
        for crop in evidence.restoration.crops:
            parts += _faces(crop)
    if "provenance" in wanted:
        record = provenance.sidecar(evidence)
        parts.append(Part(name="provenance", data=record, content_type="application/json", extension="json"))
    return tuple(parts)


def mask(encoded: Encoded, restoration: Restoration) -> vips.Samples:
    """(H, W, 1) uint8, exact: 0 = the plainly resampled input's samples, 128 = the upsampler's, 255 = a face's.

    At scale 1, 0 is the input's own sample, bit for bit (before a lossy format's coding).
    """
    hands = np.where(restoration.changed > 0, np.uint8(MASK_FACE), np.uint8(MASK_UPSAMPLER))
    return np.where(encoded.altered, hands, np.uint8(0))[:, :, None]


def _comparison(evidence: Evidence) -> FloatImage:
    source, after = evidence.source, evidence.restoration.image
    if source.alpha is None:
        return side_by_side(source.working, after)
    alpha = encode.unit(source.alpha)
    before = over_white(source.working, alpha)
    return side_by_side(before, over_white(after, encode.at_size(alpha, after.shape[1], after.shape[0])))


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
    halves = [read(outputs.part(part).data).samples for part in (f"{name}-before", name)]
    return np.concatenate(halves, axis=1)


def _bytes_of(image: FloatImage) -> vips.Samples:
    return encode.quantised(image, 8)


def _png(name: str, samples: vips.Samples) -> Part:
    interpretation = "b-w" if samples.shape[2] == 1 else "srgb"
    # For eyes, not for archives: half the time for 4 % more bytes.
    data = vips.save(vips.picture(samples, interpretation), "png", compression=3, filter="paeth")
    return Part(name=name, data=data, content_type="image/png", extension="png")


class _Stopwatch:
    """Times our own stages and tells of their begin and end."""

    def __init__(self, on_progress: OnProgress | None) -> None:
        self._tell = on_progress
        self.seconds: dict[Stage, float] = {}

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[None]:
        if self._tell:
            self._tell(stage, 0.0)
        started = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - started
        if self._tell:
            self._tell(stage, 1.0)
