"""From a file's bytes to the faces in it, and nothing else: detect-only jobs and ``photomend detect`` go this way."""

from __future__ import annotations

import hashlib
from typing import Protocol

from pipeline import provenance, vips
from pipeline.annotate import annotated, shown_size
from pipeline.codec import DEFAULT_LIMITS, Decode, Limits, SourceImage, read
from pipeline.colour import unit
from pipeline.comparison import over_white
from pipeline.options import OutputOptions, RestoreOptions
from pipeline.picture import Picture, resized
from pipeline.resize import resize
from pipeline.restoration import Outputs, Part, Report, Stopwatch
from pipeline.types import Compute, Detection, OnProgress, Stage, compute_here

#: Of the picture with marks, which is for eyes.
_JPEG_QUALITY = 90


class Finds(Protocol):
    """What ``pipeline.restorer.Restorer`` does here; named so that a test may put another in its place."""

    def require_detector(self) -> None: ...

    def find(
        self,
        picture: Picture,
        options: RestoreOptions,
        *,
        on_progress: OnProgress | None = None,
        compute: Compute = compute_here,
    ) -> Detection: ...


def find_faces(
    data: bytes,
    *,
    options: RestoreOptions,
    output: OutputOptions,
    finder: Finds,
    limits: Limits = DEFAULT_LIMITS,
    decode: Decode = read,
    on_progress: OnProgress | None = None,
    compute: Compute = compute_here,
) -> Outputs:
    """Decode, detect, and tell.

    Args:
        data: the file.
        options: what of it a detection can honour (``pipeline.options.DETECTION``).
        output: of its ``outputs``, ``image`` is a JPEG with the faces marked, ``provenance`` the record.
        finder: the detector.
        limits: what is refused before decoding.
        decode: how the file becomes a picture; a stranger's is decoded where it can do no harm.
        on_progress: told of every stage; what it raises stops the work.
        compute: where device work runs.

    Raises:
        UnreadableImage, TruncatedImage, ImageTooLarge: the input.
        WeightsMissing: there is no detector; before any work.
        FaceNotFound: a chosen face is not there.
        PipelineError: others, from the network.
    """
    clock = Stopwatch(on_progress)
    finder.require_detector()
    with clock.stage(Stage.DECODE):
        source = decode(data, limits=limits, page=options.page)
    detection = finder.find(source.picture, options, on_progress=on_progress, compute=compute)
    warnings = source.notices + detection.warnings
    parts: list[Part] = []
    with clock.stage(Stage.ENCODE):
        if "image" in output.outputs:
            parts.append(_marked(source, detection))
        if "provenance" in output.outputs:
            record = provenance.detection_sidecar(
                data, source, detection, options=options, output=output, warnings=warnings
            )
            parts.append(Part(name="provenance", data=record, content_type="application/json", extension="json"))
    return Outputs(
        parts=tuple(parts),
        report=Report(
            width=source.width,
            height=source.height,
            megapixels=source.header.megapixels,
            input_sha256=hashlib.sha256(data).hexdigest(),
            faces=detection.faces,
            warnings=warnings,
            seconds={str(stage): took for stage, took in (detection.seconds | clock.seconds).items()},
            model=detection.model,
        ),
    )


def _marked(source: SourceImage, detection: Detection) -> Part:
    width, height = shown_size(source.width, source.height, detection.faces)
    alpha = None if source.alpha is None else unit(resize(source.alpha, width, height))
    image = over_white(resized(source.picture, width, height), alpha)
    picture = annotated(image, detection.faces, width=source.width, height=source.height)
    data = vips.save(vips.picture(picture, "srgb"), "jpeg", Q=_JPEG_QUALITY)
    return Part(name="image", data=data, content_type="image/jpeg", extension="jpg")
