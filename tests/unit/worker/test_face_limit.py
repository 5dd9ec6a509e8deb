"""The operator's limit on faces holds before the device sees one, whatever the job asks for."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.kinds import Kind
from jobs.options import JobOptions
from pipeline.decode import read
from pipeline.options import RestoreOptions
from pipeline.types import compute_here
from tests.fleet import png
from worker.restoring import Restoring


class Seen(Exception):
    """Raised in place of restoring."""


class Networks:
    """Takes note of what it would do."""

    options: RestoreOptions | None = None

    def require(self, options: RestoreOptions) -> None:
        pass

    def __call__(self, _picture: object, options: RestoreOptions, **_: Any) -> Any:
        self.options = options
        raise Seen


@pytest.mark.parametrize(
    ("operator", "asked", "restored"), [(None, None, None), (None, 7, 7), (5, None, 5), (5, 3, 3), (5, 9, 5)]
)
def test_the_smaller_of_the_operators_and_the_jobs_limit_holds(
    operator: int | None, asked: int | None, restored: int | None
) -> None:
    networks: Any = Networks()
    engine = Restoring(
        networks, name="x", models=(), max_pixels=10**6, large_pixels=10**6, decode=read, most_faces=operator
    )
    options = JobOptions(max_faces=asked)
    with pytest.raises(Seen):
        engine.run(Kind.RESTORE, png(), options, on_progress=lambda *_: None, compute=compute_here)
    assert networks.options.max_faces == restored
