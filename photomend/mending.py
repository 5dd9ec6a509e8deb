"""Pictures on this machine through the pipeline, one after another; a failing one does not stop the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from photomend.files import EXTENSIONS, FileRefused, Input, Layout, check_free, write_whole

if TYPE_CHECKING:
    from jobs.options import JobOptions
    from pipeline.codec import Header, Limits
    from pipeline.restoration import Outputs, Part, Report, Restores
    from pipeline.types import OnProgress


@dataclass(frozen=True, slots=True, kw_only=True)
class Mended:
    """One picture that went through."""

    source: Input
    report: Report
    files: dict[str, Path]  #: part → where it is


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """One picture that did not."""

    source: Input
    code: str  #: stable
    sentence: str


@dataclass(kw_only=True)
class Mender:
    """Mends files by one set of options."""

    restorer: Restores
    options: JobOptions
    layout: Layout
    limits: Limits
    overwrite: bool = False
    with_cmp: bool = False  #: a before | after picture of each face, as GFPGAN's command line writes
    _taken: set[Path] = field(default_factory=set, init=False)
    _inputs: set[Path] = field(default_factory=set, init=False)

    def mend_all(
        self, sources: Iterable[Input], *, on_progress: Callable[[Input], OnProgress]
    ) -> Iterable[Mended | Failed]:
        """Each picture's outcome as it comes.

        Args:
            sources: what to mend; none of it is ever written to.
            on_progress: called with each picture before its work; gives what is told of its stages.
        """
        sources = tuple(sources)
        self._inputs = {source.path.resolve() for source in sources}
        for source in sources:
            yield self._mend_safely(source, on_progress(source))

    def _mend_safely(self, source: Input, on_progress: OnProgress) -> Mended | Failed:
        from pipeline.errors import PipelineError

        try:
            return self.mend(source, on_progress)
        except FileRefused as error:
            return Failed(source=source, code=error.code, sentence=str(error))
        except PipelineError as error:
            return Failed(source=source, code=error.code, sentence=f"{error.public} {sentence(str(error))}".strip())
        except MemoryError:
            return Failed(source=source, code="out_of_memory", sentence="The picture needs more memory than there is.")
        except OSError as error:
            return Failed(source=source, code=_os_code(error, source), sentence=_os_sentence(error, source))

    def mend(self, source: Input, on_progress: OnProgress) -> Mended:
        """One picture, from its file to its results' files.

        Raises:
            FileRefused, PipelineError, OSError: see the messages.
        """
        from pipeline.codec import probe
        from pipeline.restoration import process
        from worker.mapping import output_options, restore_options

        data = source.path.read_bytes()
        header = probe(data, limits=self.limits)
        self._check(source, self._foreseen(source, header))
        outputs = process(
            data,
            options=restore_options(self.options),
            output=output_options(self.options),
            restorer=self.restorer,
            limits=self.limits,
            on_progress=on_progress,
        )
        return Mended(source=source, report=outputs.report, files=self._write(source, header, outputs))

    def _foreseen(self, source: Input, header: Header) -> list[Path]:
        """Where the results will go, as far as it is known before the faces are."""
        extensions = {
            "mask": "png",
            "comparison": "png",
            "provenance": "json",
            "image": self._extension(source, header),
        }
        wanted = [part for part in self.options.outputs if part in extensions]
        return [self.layout.place(source, part, extensions[part]) for part in wanted]

    def _extension(self, source: Input, header: Header) -> str:
        """The input's own spelling (.jpeg, .TIF) where its format stays and its name is true."""
        from pipeline.formats import CAPABILITIES, Format

        goal = header.format if self.options.format == "auto" else Format(self.options.format)
        own = source.path.suffix.removeprefix(".")
        return own if own.lower() in EXTENSIONS[goal] else CAPABILITIES[goal].extension

    def _write(self, source: Input, header: Header, outputs: Outputs) -> dict[str, Path]:
        files = {}
        for part in self._parts(outputs):
            extension = self._extension(source, header) if part.name == "image" else part.extension
            files[part.name] = (part.data, self.layout.place(source, part.name, extension))
        self._check(source, [place for _, place in files.values()])
        for content, place in files.values():
            write_whole(content, place, overwrite=self.overwrite)
            self._taken.add(place.resolve())
        return {name: place for name, (_, place) in files.items()}

    def _parts(self, outputs: Outputs) -> list[Part]:
        from pipeline.restoration import face_comparisons

        return [*outputs.parts, *(face_comparisons(outputs) if self.with_cmp else ())]

    def _check(self, source: Input, targets: list[Path]) -> None:
        check_free(targets, inputs=self._inputs | {source.path.resolve()}, taken=self._taken, overwrite=self.overwrite)


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
