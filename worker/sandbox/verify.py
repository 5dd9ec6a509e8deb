"""The worker's half of the answer: sealed, then checked word by word, then a picture.

Whoever wrote it may have been taken over by the file that it was decoding. So its sizes are compared with what they
describe, its words with what they may be, and nothing is looked at that could still change.
"""

from __future__ import annotations

import errno
import fcntl
import math
import mmap
import os
import time
from typing import NoReturn

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.colour import ColourSpace
from pipeline.decode import Limits
from pipeline.errors import DecoderLost, HostileImage, ImageTooLarge, PipelineError, UnreadableImage, UnsupportedOption
from pipeline.metadata import Metadata
from pipeline.source import Header, SourceImage
from pipeline.types import Notice
from pipeline.vips import Samples
from worker.sandbox import answer

#: Nobody who still has the file open can change it any more. A writable mapping somewhere makes sealing fail.
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
#: Sealing fails with EBUSY also where nobody has it mapped any more and the kernel still works on its pages (Linux,
#: mm/memfd.c: it waits 150 ms for them and gives up), as happens on busy machines. So often it is tried, so far apart
#: (seconds); whoever keeps a mapping for longer is not believed.
_SEAL_TRIES, _SEAL_EVERY_S = 10, 0.02
#: As much of a child's own words as is handed on (characters).
_MAX_WORDS = 500


class DecoderBug(RuntimeError):
    """Raised when decoding failed by a fault of ours, as any other bug would end a job."""


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, val_json_bytes="base64")


class _Description(_Strict):
    header: Header
    metadata: Metadata
    profile: bytes | None
    notices: tuple[Notice, ...]


class _Refusal(_Strict):
    code: str
    words: str


def _with_subclasses(error: type[PipelineError]) -> list[type[PipelineError]]:
    return [error, *(leaf for child in error.__subclasses__() for leaf in _with_subclasses(child))]


#: What a child may say of a picture; there may be no such page of it.
_OF_A_PICTURE = (UnreadableImage, ImageTooLarge, UnsupportedOption)
_ERRORS = {error.code: error for parent in _OF_A_PICTURE for error in _with_subclasses(parent)}


def read_answer(file: int, limits: Limits) -> SourceImage:
    """The picture in a child's answer; its arrays lie in the answer's memory and are this process' own on writing.

    Raises:
        UnreadableImage, ImageTooLarge, UnsupportedOption: as ``pipeline.decode.read``, by the child's word.
        HostileImage: the answer is not one that ``answer.Answer`` would give.
        DecoderLost: the child could not be locked in.
        DecoderBug: the child met an error that is none of the picture's.
    """
    memory = _sealed(file)
    samples, length = answer.HEAD.unpack_from(memory) if len(memory) >= answer.HEAD.size else (0, 0)
    if length == 0:
        raise HostileImage("the decoder ended without an answer")
    if length > answer.MAX_DESCRIPTION or answer.HEAD.size + samples + length > len(memory):
        raise HostileImage(
            f"the decoder's answer has {len(memory):,} bytes and claims {samples:,} of samples, {length:,} of words"
        )
    at = answer.HEAD.size + samples
    said = memory[at : at + length]
    if said.startswith(b'{"code"'):
        _refuse(said)
    try:
        description = _Description.model_validate_json(said)
    except ValidationError as error:
        raise HostileImage(f"the decoder's answer is not in form: {error.errors()[0]['type']}") from error
    _check(description, limits)
    return _picture(memory, samples, description)


def _sealed(file: int) -> mmap.mmap:
    for left in reversed(range(_SEAL_TRIES)):
        try:
            fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
            break
        except OSError as error:
            if error.errno != errno.EBUSY or not left:
                raise HostileImage("the decoder's answer can still be changed") from error
            time.sleep(_SEAL_EVERY_S)
    size = os.fstat(file).st_size
    if size == 0:
        raise HostileImage("the decoder ended without an answer")
    return mmap.mmap(file, size, access=mmap.ACCESS_COPY)


def _refuse(said: bytes) -> NoReturn:
    try:
        refusal = _Refusal.model_validate_json(said)
    except ValidationError as error:
        raise HostileImage("the decoder's refusal is not in form") from error
    words = "".join(letter for letter in refusal.words[:_MAX_WORDS] if letter.isprintable())
    if refusal.code == answer.OUT_OF_MEMORY:
        raise ImageTooLarge("decoding it takes more memory than is allowed for its pixels")
    if refusal.code == answer.NOT_CONFINED:
        raise DecoderLost(f"the decoder could not be locked in: {words}")
    if refusal.code == answer.UNEXPECTED:
        raise DecoderBug(words)
    raise _ERRORS.get(refusal.code, HostileImage)(words)


def _check(description: _Description, limits: Limits) -> None:
    header, resolution = description.header, description.metadata.resolution
    claims = {
        "size": header.width >= 1 and header.height >= 1 and header.width * header.height <= limits.max_pixels,
        "depth": header.bit_depth in {8, 16} and 1 <= header.file_bits <= 64,
        "orientation": 1 <= header.orientation <= 8,
        "page": 1 <= header.page <= header.pages,
        "resolution": resolution is None or all(math.isfinite(one) and one > 0 for one in resolution),
    }
    if not all(claims.values()):
        wrong = ", ".join(name for name, is_sound in claims.items() if not is_sound)
        raise HostileImage(f"the decoder's answer has an impossible {wrong}")


def _picture(memory: mmap.mmap, samples_bytes: int, description: _Description) -> SourceImage:
    header = description.header
    kind = np.dtype(np.uint8 if header.bit_depth == 8 else np.uint16)
    shapes = [(header.height, header.width, header.kind.bands)]
    if header.has_alpha:
        shapes.append((header.height, header.width, 1))
    sizes = [math.prod(shape) * kind.itemsize for shape in shapes]
    if sum(sizes) != samples_bytes:
        raise HostileImage(
            f"the decoder's answer has {samples_bytes:,} bytes of samples, its header means {sum(sizes):,}"
        )
    planes: list[Samples] = []
    start = answer.HEAD.size
    for shape, size in zip(shapes, sizes, strict=True):
        planes.append(np.frombuffer(memory, kind, math.prod(shape), start).reshape(shape))
        start += size
    return SourceImage(
        header=header,
        samples=planes[0],
        alpha=planes[1] if header.has_alpha else None,
        space=ColourSpace(kind=header.kind, profile=description.profile),
        metadata=description.metadata,
        notices=description.notices,
    )
