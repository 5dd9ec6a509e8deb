"""The benchmark: turns, figures, verdicts, and what is left when something goes wrong."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace

import pytest

from photomend.bench import report
from photomend.bench.contest import Workshop
from photomend.bench.cpu import cpu_s
from photomend.bench.program import Program, Results, known_rows, run
from photomend.bench.rows import service
from tests.bench.readme import CHART, with_figures, write

MODULE = "tests.fake_rows"


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(place=Workshop(folder=tmp_path), modules=(MODULE,), rows=("fast", "slow", "grows"))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Path]:
    place = Workshop(folder=tmp_path_factory.mktemp("bench"))
    return run(Program(place=place, modules=(MODULE,), rows=("fast", "slow", "grows"))), place.folder


def test_sides_are_handed_each_case_in_turn_after_a_run_that_does_not_count(results: tuple[Results, Path]) -> None:
    lines = (results[1] / "order").read_text().splitlines()
    warm, first, second = lines[:3], lines[3:9], lines[9:12]
    assert warm == ["one 90 False", "one 90 True", "one 100 True"]
    assert first == [*warm, "two 90 False", "two 90 True", "two 100 True"]
    # Another side begins, and the costly case is not run again.
    assert second == ["one 90 True", "one 100 True", "one 90 False"]
    assert len(lines) == 3 + 6 + 3 + 3


def test_figures_come_from_the_runs(results: tuple[Results, Path]) -> None:
    fast = next(row for row in results[0].rows if row["name"] == "fast")
    assert fast["upstream_s"] == 16.0
    assert fast["ours_s"] == 4.0
    assert [fast[name] for name in ("ratio", "ratio_min", "ratio_max", "ratio_tuned")] == [4.0] * 4
    assert fast["max_abs_diff"] == 10
    assert fast["psnr_db"] == pytest.approx(28.13, abs=0.01)
    assert fast["stages"] == {"think": 2.0}
    assert fast["peak_mb"] > 10


def test_targets_are_judged_and_what_was_not_measured_is_not_called_met(results: tuple[Results, Path]) -> None:
    rows = {row["name"]: row for row in results[0].rows}
    assert rows["fast"]["met"] is True
    assert (rows["slow"]["met"], rows["slow"]["missed"]) == (False, ["ratio ≥ 5"])
    assert (rows["grows"]["met"], rows["grows"]["growth_percent"]) == (False, 3.0)
    assert "NOT met" in report.verdict(rows["grows"])
    unmeasured = dataclasses.replace(results[0]).rows[0] | {"met": None, "missed": ["ratio ≥ 3"], "ratio": None}
    assert "not judged" in report.verdict(unmeasured)


def test_without_upstream_ours_is_measured_alone(program: Program) -> None:
    found = run(dataclasses.replace(program, rows=("fast",), has_upstream=False, repeats=1))
    [row] = found.rows
    assert (row["ours_s"], row["ratio"], row["met"]) == (4.0, None, None)


def test_a_side_that_dies_is_told_of_and_all_other_rows_are_measured(program: Program, tmp_path: Path) -> None:
    (tmp_path / "set-up").touch()
    kept: list[list[str]] = []
    keep = lambda so_far: kept.append([row["name"] for row in so_far.rows])  # noqa: E731
    found = run(dataclasses.replace(program, rows=("fatal", "steady", "never", "grows", "fails"), repeats=1, keep=keep))
    rows = {row["name"]: row for row in found.rows}
    assert set(rows) == {"fatal", "steady", "never", "grows", "fails"}
    assert "this side cannot do it" in rows["fatal"]["failed"]
    assert (rows["fatal"]["ratio"], rows["fatal"]["met"]) == (None, None)
    assert (rows["steady"]["ratio"], rows["steady"]["failed"]) == (2.0, None)
    assert rows["steady"]["own_max_abs_diff"] == 1
    assert "no room for weights" in rows["never"]["failed"]
    assert "the service did not start" in rows["fails"]["failed"]
    assert rows["grows"]["growth_percent"] == 3.0
    assert len(found.faults) == 3
    assert not found.is_interrupted
    assert "FAILED: ValueError: this side cannot do it" in report.verdict(rows["fatal"])
    # What is done is kept at once.
    assert [len(names) for names in kept] == [2, 3, 4, 5]


def test_what_is_only_compared_with_runs_alone_and_a_warm_up_may_have_its_own_case(
    program: Program, tmp_path: Path
) -> None:
    (tmp_path / "set-up").touch()
    found = run(dataclasses.replace(program, rows=("steady",)))
    lines = (tmp_path / "order").read_text().splitlines()
    assert lines[0] == "deadly 102 True"
    assert lines[1:4] == ["light 90 False", "light 90 True", "light 101 True"]
    assert set(lines[4:]) == {"deadly 90 False", "deadly 90 True", "deadly 101 True"}
    assert [row["cases"] for row in found.rows] == [["deadly"]]


def test_progress_foretells_the_end(program: Program) -> None:
    said: list[str] = []
    run(dataclasses.replace(program, rows=("fast", "grows"), repeats=1, say=said.append))
    assert said[0] == "1 of 2: fake; about 1.0 min, and 2.0 to the end"
    assert any(line.startswith("2 of 2: grows; about 0.") for line in said)


def test_an_interrupted_run_keeps_what_is_done(program: Program) -> None:
    def say(words: str) -> None:
        if "round 2" in words:
            raise KeyboardInterrupt

    found = run(dataclasses.replace(program, say=say, rows=("fast",)))
    assert found.is_interrupted
    assert [row["runs"] for row in found.rows] == [2]


def test_no_round_begins_when_the_time_is_over(program: Program) -> None:
    found = run(dataclasses.replace(program, rows=("fast",), minutes=0.001))
    assert [row["runs"] for row in found.rows] == [2]


def test_files_tell_the_same(results: tuple[Results, Path]) -> None:
    figures, picture = results[0].write(results[1])
    words = json.loads(figures.read_text())
    assert [row["name"] for row in words["rows"]] == ["fast", "slow", "grows"]
    assert {"date", "commit", "machine", "versions"} <= set(words)
    texts = {element.text for element in ET.fromstring(picture.read_text()).iter() if element.text}
    assert {"fast", "slow", "4 x"} <= texts
    table = report.markdown(words)
    assert "| `fast` | 16.00 | 16.00 | 4.00 | 4 (4-4) |" in table
    assert "growth_percent 3" in table
    assert table in with_figures("a\n<!-- bench -->\nold\n<!-- /bench -->\nb", table)


def test_the_readme_tells_of_failed_and_absent_rows_too(results: tuple[Results, Path], tmp_path: Path) -> None:
    results[0].write(tmp_path)
    words = json.loads((tmp_path / "latest.json").read_text())
    failed = words["rows"][0] | {"name": "lost", "failed": "log: /home/somebody\nValueError: no", "ratio": None}
    words["rows"].append(failed | {"ours_s": None})
    (tmp_path / "README.md").write_text("a\n<!-- bench -->\nold\n<!-- /bench -->\nb")
    (tmp_path / CHART).parent.mkdir(parents=True)
    write(words, root=tmp_path, known=("fast", "slow", "grows", "lost", "absent"))
    readme = (tmp_path / "README.md").read_text()
    assert "Not measured: `absent`." in readme
    [line] = [line for line in readme.splitlines() if line.startswith("| `lost`")]
    assert line.endswith("| failed |")
    assert "somebody" not in readme
    assert f"]({CHART})" in readme
    assert "fast" in (tmp_path / CHART).read_text()


def test_operations_are_those_of_the_layers_as_they_run() -> None:
    from photomend.bench.rows.roofline import operations

    found = {name: round(value) for name, value in operations().items()}
    assert found == {
        "gfpgan_gflop": 266,
        "parsenet_gflop": 90,
        "resnet50_gflop_mp": 216,
        "srvgg_gflop_mp": 2418,
        "rrdb_gflop_mp": 8966,
    }


def test_cpu_time_is_told_by_who_took_it() -> None:
    burn = "import sys, time\nwhile time.process_time() < 0.4: pass\nprint(); sys.stdin.read()"
    both: list[subprocess.Popen[bytes]] = []
    for code in (burn, "print(); import sys; sys.stdin.read()"):
        child = subprocess.Popen(
            [sys.executable, "-S", "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        both.append(child)
    try:
        for child in both:
            assert child.stdout is not None
            child.stdout.readline()
        taken = cpu_s({"busy": [both[0].pid], "idle": [both[1].pid], "gone": []})
    finally:
        for child in both:
            child.communicate(timeout=30)
    assert taken["busy"] >= 0.35
    assert taken["idle"] < taken["busy"]
    assert taken["gone"] == 0


def test_every_row_has_a_name_of_its_own() -> None:
    from tests.bench.__main__ import modules

    names = known_rows(modules())
    assert len(names) == len(set(names))
    assert {"exact", "auto", "preview", "srvgg-tile", "rrdb-tile", "folder-100"} <= set(names)


def test_what_a_job_adds_is_its_time_beyond_stages_and_not_beyond_the_device_s_share_of_them_again():
    metrics = {
        "queue_s": 0.5,
        "fetch_s": 0.01,
        "detect_s": 0.3,
        "restore_s": 0.6,
        "gpu_s": 0.8,
        "gpu_upsample_s": 0.1,
        "megapixels": 2.0,
    }
    job = SimpleNamespace(created_at=100.0, completed_at=101.0, result=SimpleNamespace(metrics=metrics))

    assert service._added(job) == pytest.approx(0.09)
