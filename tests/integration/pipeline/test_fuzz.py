"""Two thousand inputs of ``make fuzz``, through libvips and all that is done with their words; findings are found."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fuzz import __main__ as fuzz
from tests.fuzz.batch import batched
from tests.fuzz.inputs import Inputs, seeds
from tests.fuzz.judge import judged, sandbox
from tests.fuzz.report import Report
from tests.hostile_zygote import evil
from worker.sandbox.client import Sandbox

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux' own")]

INPUTS = 2000


@pytest.fixture(scope="module")
def hostile() -> Iterator[Sandbox]:
    """One whose decoder does what a file says."""
    box = sandbox("tests.hostile_zygote", hang_s=1)
    yield box
    box.close()


@pytest.mark.timeout(300)
def test_two_thousand_files_end_as_a_picture_or_as_an_error_of_the_pipeline(
    record_property: Callable[[str, object], None],
) -> None:
    ends, findings = batched(range(INPUTS), seed=20261126)
    record_property("ends", dict(ends))
    assert findings == {}
    assert ends.total() == INPUTS
    assert min(ends["picture"], INPUTS - ends["picture"]) > INPUTS // 10, "neither is all decoded, nor all refused"
    assert {"image_unreadable", "image_truncated", "image_unsupported", "image_too_large"} <= set(ends)


@pytest.mark.timeout(180)
def test_an_input_that_ends_its_process_is_named_and_the_others_are_tried() -> None:
    ends, findings = batched(range(9), seed=1, planted={3: "crash", 5: "exception"})
    assert findings == {3: "death: status -6", 5: "death: status 1"}
    assert ends.total() == 7


def test_the_same_number_is_the_same_input_again() -> None:
    honest = seeds()
    first, again = (Inputs(7, honest) for _ in range(2))
    numbers = range(len(honest), len(honest) + 50)
    assert [first[number] for number in numbers] == [again[number] for number in numbers]
    assert Inputs(8, honest)[numbers[0]] != first[numbers[0]]


@pytest.mark.parametrize(
    ("act", "argument", "kind"),
    [
        ("raise", "what?", "exception"),
        ("spin", "", "hang"),
        ("exit", "3", "death"),
        ("write-garbage", "00ff00ff00ff00ff00ff", "death"),
        ("segfault", "", "crash"),
        ("say", "image_truncated|it ends", None),
    ],
)
def test_what_an_input_does_in_the_sandbox_has_its_name(
    hostile: Sandbox, act: str, argument: str, kind: str | None
) -> None:
    assert judged(hostile, evil(act, argument)).kind == kind


def test_findings_are_kept_with_how_to_see_them_again_and_make_the_run_fail(
    hostile: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    honest = [seeds()[0], evil("raise", "what?"), evil("segfault"), b"nothing"]
    report = Report()
    fuzz.sandboxed(Inputs(1, honest), range(len(honest)), hostile, folder=tmp_path, report=report)
    assert report.ends == {"picture": 1, "internal": 1, "image_hostile": 1, "image_unreadable": 1}
    assert [finding.kind for finding in report.escapes] == ["exception"], "a crash was held"
    for finding, data in zip(sorted(report.findings, key=lambda one: one.kind), (honest[2], honest[1]), strict=True):
        assert finding.file.read_bytes() == data
        assert f"--reproduce {finding.file}" in finding.file.with_suffix(".txt").read_text()

    monkeypatch.setattr(fuzz, "run", lambda count, *, seed, folder: report)
    monkeypatch.setattr(sys, "argv", ["fuzz", "--count", "4"])
    assert fuzz.main() == 1
    assert "1 escapes, 1 crashes that the sandbox held" in capsys.readouterr().err
    report.findings.remove(report.escapes[0])
    assert fuzz.main() == 0
