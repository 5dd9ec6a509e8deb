"""Faces of pictures on this machine, found one picture after another; a failing one does not stop the rest."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from photomend.files import Input, Layout, check_free, write_whole
from photomend.mending import safely
from photomend.outcomes import Failed, Finished

if TYPE_CHECKING:
    from jobs.options import JobOptions
    from pipeline.codec import Limits
    from pipeline.finding import Finds
    from pipeline.restoration import Outputs
    from pipeline.types import OnProgress


@dataclass(kw_only=True)
class Marker:
    """Finds faces by one set of options."""

    finder: Finds
    options: JobOptions
    layout: Layout | None  #: None = nothing is written
    limits: Limits
    overwrite: bool = False
    _taken: set[Path] = field(default_factory=set, init=False)
    _inputs: set[Path] = field(default_factory=set, init=False)

    def mark_all(
        self, sources: Iterable[Input], *, on_progress: Callable[[Input], OnProgress]
    ) -> Iterable[Finished | Failed]:
        """Each picture's faces as they come; see ``Mender.mend_all``."""
        sources = tuple(sources)
        self._inputs = {source.path.resolve() for source in sources}
        for source in sources:
            yield safely(source, functools.partial(self.mark, source, on_progress(source)))

    def mark(self, source: Input, on_progress: OnProgress) -> Finished:
        """The faces of one picture, and the files that tell of them.

        Raises:
            FileRefused, PipelineError, OSError: see the messages.
        """
        from pipeline.finding import find_faces
        from worker.mapping import output_options, restore_options

        outputs = find_faces(
            source.path.read_bytes(),
            options=restore_options(self.options),
            output=output_options(self.options),
            finder=self.finder,
            limits=self.limits,
            on_progress=on_progress,
        )
        files = {} if self.layout is None else self._write(source, outputs, self.layout)
        return Finished(source=source, report=outputs.report, files=files)

    def _write(self, source: Input, outputs: Outputs, layout: Layout) -> dict[str, Path]:
        files = {part.name: layout.place(source, part.name, part.extension) for part in outputs.parts}
        inputs = self._inputs | {source.path.resolve()}
        check_free(files.values(), inputs=inputs, taken=self._taken, overwrite=self.overwrite)
        for part in outputs.parts:
            write_whole(part.data, files[part.name], overwrite=self.overwrite)
            self._taken.add(files[part.name].resolve())
        return files
