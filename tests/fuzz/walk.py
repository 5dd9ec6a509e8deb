"""What one input is put through: all that a worker does with a stranger's bytes, but for the networks.

Sniff, header, pixels, the file's own words; then what is done with those outside of the sandbox: its colours as the
networks see them, and its words in a file of each format that we write, which must be one that we read.
"""

from __future__ import annotations

import base64
import functools

from pipeline import colour, formats, metadata, scratch, vips
from pipeline.colour import Kind
from pipeline.decode import Limits, probe, read
from pipeline.errors import PipelineError
from pipeline.formats import CAPABILITIES, Format
from pipeline.source import SourceImage
from pipeline.vips import Allocate
from pipeline.xmp import SourceType
from worker.sandbox.warmth import _TINY

#: Small, so that 50,000 inputs do not spend their time on one that is valid and large.
LIMITS = Limits(max_pixels=4_000_000, max_bytes=64 * 1024**2)
#: The last page that is asked for as well.
_PAGES = 3


@functools.lru_cache(maxsize=1)
def carriers() -> dict[Format, bytes]:
    """A tiny file of each format that we write, without a word in it."""
    files = [base64.b64decode(text) for text in _TINY]
    found = {formats.sniff(data): data for data in files}
    assert found.keys() == CAPABILITIES.keys()
    return found


def walk(data: bytes, *, limits: Limits = LIMITS, page: int = 1, allocate: Allocate = vips.in_memory) -> SourceImage:
    """The picture, after everything was done with it.

    Raises:
        PipelineError: it is refused; whatever else is raised is a finding.
    """
    header = probe(data, limits=limits, page=page)
    source = read(data, limits=limits, page=page, allocate=allocate)
    assert source.header == header, "a header promises what the picture is"
    assert source.samples.shape == (source.height, source.width, source.space.kind.bands)
    _seen(source)
    # Which formats, the input decides, so that all have their turn and none costs four times as much.
    kinds = list(carriers())
    _told_again(source, kinds[len(data) % len(kinds)])
    if source.format in kinds:
        _told_again(source, source.format)
    if page == 1 and header.pages > 1:
        read(data, limits=limits, page=min(header.pages, _PAGES))
    return source


def _seen(source: SourceImage) -> None:
    rows = source.samples[:1]
    seen = colour.to_srgb(rows, source.space)
    assert seen.shape == (1, source.width, 3)
    if not source.space.is_plain and not source.space.is_one_way:
        back = vips.from_srgb(vips.picture(seen, Kind.RGB.interpretation(16)), source.space.return_profile)
        assert back.shape[2] == source.space.kind.bands


def _told_again(source: SourceImage, kind: Format) -> None:
    carrier = carriers()[kind]
    told = source.metadata if kind is source.format else source.metadata.in_another_format()
    size = probe(carrier)
    pieces, _ = metadata.attached(
        carrier, kind, told.scaled(2, 2), width=size.width, height=size.height, source_type=SourceType.COMPOSITE
    )
    written = bytes(scratch.joined(pieces))
    try:
        again = read(written, limits=LIMITS)
    except PipelineError as error:
        raise AssertionError(f"our own {kind} file cannot be read") from error
    assert (again.width, again.height) == (size.width, size.height), f"our own {kind} file is another picture"
