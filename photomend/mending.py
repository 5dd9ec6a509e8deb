"""Pictures on this machine through the pipeline, one after another; a failing one does not stop the rest."""

from __future__ import annotations

import functools
import hashlib
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from photomend.files import EXTENSIONS, FileRefused, Input, Layout, check_free, holds, write_whole
from photomend.outcomes import Failed, Finished

if TYPE_CHECKING:
    from jobs.options import JobOptions
    from pipeline.codec import Header, Limits
    from pipeline.restoration import Outputs, Part, Restores
    from pipeline.types import Compute, OnProgress

T = TypeVar("T")

#: After so many pictures, the memory that the allocator kept of them goes back: small photos do not hold a scan's for
#: hours, nor what pictures of ever other sizes leave between each other. Measured: 1 ms, and some 3 ms for the next
#: small photo, of 150.
GIVE_BACK_EVERY = 32


@dataclass(kw_only=True)
class Mender:
    """Mends files by one set of options."""

    restorer: Restores
    options: JobOptions
    layout: Layout
    limits: Limits
    overwrite: bool = False
    with_cmp: bool = False  #: a before | after picture of each face, as GFPGAN's command line writes
    #: A result that is there already may be that of a run that was cut off: it is made again, and left where it has the
    #: same bytes; only where it has others it is in the way.
    resumes: bool = False
    compute: Compute | None = None  #: where device work runs; None = on the calling thread
    staging: Path | None = None  #: where results are half written; None = beside their place
    _taken: set[Path] = field(default_factory=set, init=False)
    _claiming: threading.Lock = field(default_factory=threading.Lock, init=False)
    _inputs: set[Path] = field(default_factory=set, init=False)
    _count: Iterator[int] = field(default_factory=functools.partial(itertools.count, 1), init=False)

    def mend_all(
        self, sources: Iterable[Input], *, on_progress: Callable[[Input], OnProgress]
    ) -> Iterable[Finished | Failed]:
        """Each picture's outcome as it comes.

        Args:
            sources: what to mend; none of it is ever written to.
            on_progress: called with each picture before its work; gives what is told of its stages.
        """
        sources = tuple(sources)
        self._inputs = {source.path.resolve() for source in sources}
        for source in sources:
            yield safely(source, functools.partial(self.mend, source, on_progress(source)))

    def mend(self, source: Input, on_progress: OnProgress, *, options: JobOptions | None = None) -> Finished:
        """One picture, from its file to its results' files; by options of its own, if it has any.

        Raises:
            FileRefused, PipelineError, OSError: see the messages.
        """
        from pipeline.codec import probe
        from pipeline.restoration import process
        from pipeline.types import compute_here
        from worker import memory
        from worker.mapping import output_options, restore_options

        options = options or self.options
        data = source.path.read_bytes()
        _require_checksum(source, data)
        header = probe(data, limits=self.limits, page=options.page)
        if not self.resumes:
            self._check(source, self._foreseen(source, header, options))
        outputs = process(
            data,
            options=restore_options(options),
            output=output_options(options),
            restorer=self.restorer,
            limits=self.limits,
            on_progress=on_progress,
            compute=self.compute or compute_here,
        )
        extension = self._extension(source, header, options)
        finished = Finished(source=source, report=outputs.report, files=self._write(source, extension, outputs))
        del outputs
        if next(self._count) % GIVE_BACK_EVERY == 0:
            memory.give_back()
        return finished

    def _foreseen(self, source: Input, header: Header, options: JobOptions) -> list[Path]:
        """Where the results will go, as far as it is known before the faces are."""
        extensions = {
            "mask": "png",
            "comparison": "png",
            "provenance": "json",
            "image": self._extension(source, header, options),
        }
        wanted = [part for part in options.outputs if part in extensions]
        return [self.layout.place(source, part, extensions[part]) for part in wanted]

    @staticmethod
    def _extension(source: Input, header: Header, options: JobOptions) -> str:
        """The input's own spelling (.jpeg, .TIF) where its format stays and its name is true."""
        from pipeline.formats import CAPABILITIES, written_as

        goal = written_as(header.format, options.format)
        own = source.path.suffix.removeprefix(".")
        return own if own.lower() in EXTENSIONS[goal] else CAPABILITIES[goal].extension

    def _write(self, source: Input, extension: str, outputs: Outputs) -> dict[str, Path]:
        files = {}
        for part in self._parts(outputs):
            place = self.layout.place(source, part.name, extension if part.name == "image" else part.extension)
            files[part.name] = (part.data, place)
        missing = [
            (content, place) for content, place in files.values() if not (self.resumes and holds(place, content))
        ]
        places = [place for _, place in files.values()]
        with self._claiming:
            self._check(source, places, overwrite=True)
            self._check(source, [place for _, place in missing])
            self.claim(places)
        for content, place in missing:
            write_whole(content, place, overwrite=self.overwrite, staging=self.staging)
        return {name: place for name, (_, place) in files.items()}

    def _parts(self, outputs: Outputs) -> list[Part]:
        from pipeline.restoration import face_comparisons

        return [*outputs.parts, *(face_comparisons(outputs) if self.with_cmp else ())]

    def claim(self, places: Iterable[Path]) -> None:
        """Count these files as results of this run, which nothing else is written to."""
        self._taken.update(place.resolve() for place in places)

    def _check(self, source: Input, targets: list[Path], *, overwrite: bool | None = None) -> None:
        may = self.overwrite if overwrite is None else overwrite
        check_free(targets, inputs=self._inputs | {source.path.resolve()}, taken=self._taken, overwrite=may)


def _require_checksum(source: Input, data: bytes) -> None:
    if source.sha256 is None:
        return
    found = hashlib.sha256(data).hexdigest()
    if found != source.sha256:
        raise FileRefused(
            "input_changed",
            f"The file is not the one of the manifest: its SHA-256 is {found}, not {source.sha256}.",
        )


def safely(source: Input, work: Callable[[], T]) -> T | Failed:
    """What the work on one picture gives, or why it gave nothing."""
    from pipeline.errors import PipelineError

    try:
        return work()
    except FileRefused as error:
        return Failed(source=source, code=error.code, sentence=str(error))
    except PipelineError as error:
        return Failed(source=source, code=error.code, sentence=f"{error.public} {sentence(str(error))}".strip())
    except MemoryError:
        return Failed(source=source, code="out_of_memory", sentence="The picture needs more memory than there is.")
    except OSError as error:
        return Failed(source=source, code=_os_code(error, source), sentence=_os_sentence(error, source))


def sentence(words: str) -> str:
    """Words of an error as a sentence of their own."""
    return words[:1].upper() + words[1:] + ("" if words.endswith((".", "`")) or not words else ".")


def _os_code(error: OSError, source: Input) -> str:
    side = "input" if error.filename in {str(source.path), source.path} else "output"
    if isinstance(error, PermissionError):
        return f"{side}_denied"
    return f"{side}_not_found" if isinstance(error, FileNotFoundError) else f"{side}_unusable"


def _os_sentence(error: OSError, source: Input) -> str:
    reason = error.strerror or type(error).__name__
    return f"{error.filename or source.path}: {reason}."
