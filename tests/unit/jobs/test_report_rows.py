"""A report's rows: written and read back the same, safe in a spreadsheet, each line of the manifest there once."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.delivery import errors
from jobs.delivery.merging import merged
from jobs.delivery.recipe import recipe_sha256
from jobs.delivery.rows import (
    FaceNote,
    OutputFile,
    ReviewNote,
    Row,
    Status,
    from_words,
    of_faces,
    of_model,
    to_words,
)
from jobs.delivery.written import CsvWriter, JsonLinesWriter, read_csv, read_json_lines

SHA = "ab" * 32
#: Whatever a key may hold; lone surrogates are in no UTF-8 file.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
DANGEROUS = [
    "=1+1.tif", "+1.tif", "-1.tif", "@SUM(A1).tif", "\t=1.tif", "\r=1.tif", "  =cmd|' /C calc'!A0", "'quoted.tif",
    "''=1", "\uff1d1+1.tif", "\uff20x", "|x", "%0A", 'a"b;=1+1,c.tif', "line\nbreak.tif", "\ufeffmark.tif",
]  # fmt: skip


def row(number: int = 1, **more) -> Row:
    return Row(**{"number": number, "source": f"scans/{number}.tif", "status": Status.SUCCEEDED} | more)


def full(number: int = 7) -> Row:
    return row(
        number,
        version="3/L4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY",
        source_sha256=SHA,
        recipe_sha256=SHA[::-1],
        outputs=(OutputFile(part="image", key="out/ä,b.tif", sha256=SHA, bytes=12),),
        error_code="image_truncated",
        error='It is "cut", so; it\nends.',
        faces_found=2,
        faces_restored=0,
        faces_skipped=1,
        face_notes=(FaceNote(face="g5k2p", status="skipped", reason="another face is larger"),),
        review=(ReviewNote(face="g5k2p", code="tiny", reason="it is enlarged 9.0 times"),),
        warnings=("preview_weights",),
        model="preview",
        weights={"preview": SHA, "preview-detector": SHA},
        engine="torch-cpu",
        device="host-1",
        seconds=0.1 + 0.2,
    )


def as_csv(*rows: Row) -> str:
    stream = io.StringIO(newline="")
    writer = CsvWriter(stream)
    for one in rows:
        writer.write(one)
    return stream.getvalue()


def through_csv(*rows: Row) -> list[Row]:
    return list(read_csv(io.StringIO(as_csv(*rows), newline="")))


def through_json_lines(*rows: Row) -> list[Row]:
    stream = io.StringIO()
    writer = JsonLinesWriter(stream)
    for one in rows:
        writer.write(one)
    return list(read_json_lines(io.StringIO(stream.getvalue())))


@pytest.mark.parametrize("through", [through_csv, through_json_lines])
def test_a_report_reads_back_as_it_was_written(through):
    rows = [row(1), full(2), row(3, status=Status.CANCELED, source="", seconds=0.0, faces_found=0)]
    assert through(*rows) == rows


@pytest.mark.parametrize("through", [through_csv, through_json_lines])
@given(source=TEXT, sentence=TEXT, seconds=st.floats(0, 1e9))
def test_no_text_is_lost_or_changed(through, source, sentence, seconds):
    one = row(source=source, error=sentence, device=sentence[::-1], seconds=seconds)
    assert through(one) == [one]


@pytest.mark.parametrize("source", DANGEROUS)
def test_no_cell_of_a_report_is_a_formula_to_a_spreadsheet(source):
    written = as_csv(row(source=source, error=source))
    # As a spreadsheet reads it, which knows nothing of our apostrophes.
    [heading, cells] = csv.reader(io.StringIO(written.removeprefix("\ufeff"), newline=""))
    for name in ("source", "error"):
        cell = cells[heading.index(name)]
        assert cell[0] not in "=+-@\t\r|%\uff1d\uff0b\uff0d\uff20"
        assert cell.lstrip()[0] not in "=+-@"
    # In countries where the semicolon separates cells, only what is quoted stays one.
    assert all(part.startswith('"') and part.endswith('"') for part in written[1:].split("\r\n")[0].split(","))
    assert through_csv(row(source=source, error=source)) == [row(source=source, error=source)]


def test_a_spreadsheet_knows_the_file_for_utf8_and_finds_every_value_in_its_column():
    written = as_csv(full())
    assert written.startswith("\ufeff")
    [cells] = csv.DictReader(io.StringIO(written.removeprefix("\ufeff"), newline=""))
    assert (cells["number"], cells["status"], cells["faces_found"]) == ("7", "succeeded", "2")
    assert json.loads(cells["outputs"])[0]["sha256"] == SHA


@pytest.mark.parametrize(
    "line",
    ["", "[]", "{", '{"number": 0, "source": "a", "status": "failed"}',
     '{"number": 1, "source": "a", "status": "lost"}',
     '{"number": 1, "status": "failed"}', '{"number": true, "source": "a", "status": "failed"}',
     '{"number": 1, "source": "a", "status": "failed", "outputs": [{"part": "image"}]}',
     '{"number": 1, "source": "a", "status": "failed", "error": 5}',
     '{"number": 1, "source": "a", "status": "failed", "faces_found": "2"}', "[" * 100_000],
)  # fmt: skip
def test_a_line_that_is_no_row_is_named(line):
    good = json.dumps(to_words(row()))
    with pytest.raises(errors.RowUnreadable, match="line 2"):
        list(read_json_lines([good, line]))


@pytest.mark.parametrize(
    "spoil", [lambda t: t[:-9], lambda t: t.replace('"7"', '"seven"'), lambda t: t + '"8","x"\r\n']
)
def test_a_spoilt_table_is_named(spoil):
    with pytest.raises(errors.RowUnreadable, match=r"line [234]"):
        list(read_csv(io.StringIO(spoil(as_csv(full())), newline="")))
    with pytest.raises(errors.RowUnreadable, match="heading"):
        list(read_csv(io.StringIO("a,b\n1,2\n")))


def test_a_newer_version_s_members_are_left_out():
    assert from_words(to_words(full()) | {"cost": 3}) == full()


def numbers(*parts: list[int], expected: int, **more) -> list[int]:
    return [one.number for one in merged([[row(n) for n in part] for part in parts], expected=expected, **more)]


def test_parts_are_put_together_in_the_manifest_s_order():
    assert numbers([1, 4, 5], [], [2, 3], expected=5) == [1, 2, 3, 4, 5]
    assert numbers(expected=0) == []


@pytest.mark.parametrize(
    ("parts", "expected", "error", "words"),
    [
        (([1, 2], [2, 3]), 3, errors.RowRepeated, "line 2 "),
        (([1, 1],), 1, errors.RowRepeated, "line 1 "),
        (([1, 4],), 4, errors.RowsMissing, "lines 2 to 3 "),
        (([2, 3],), 3, errors.RowsMissing, "line 1 "),
        (([1, 2],), 4, errors.RowsMissing, "lines 3 to 4 "),
        (([],), 1, errors.RowsMissing, "line 1 "),
        (([1, 2, 3],), 2, errors.RowUnknown, "line 3"),
        (([2, 1], [1]), 2, errors.RowsOutOfOrder, "line 1 after line 2"),
    ],
)
def test_rows_that_are_not_the_manifest_s_each_once_are_named(parts, expected, error, words):
    with pytest.raises(error, match=words):
        numbers(*parts, expected=expected)


def test_a_retry_s_rows_take_the_place_of_the_first_run_s():
    first = [row(1), row(2, status=Status.FAILED), row(3, status=Status.FAILED)]
    rows = list(merged([first, [row(2)], [row(3, status=Status.CANCELED)]], expected=3, later_wins=True))
    assert [one.status for one in rows] == ["succeeded", "succeeded", "canceled"]
    with pytest.raises(errors.RowRepeated):
        list(merged([first, [row(2), row(2)]], expected=3, later_wins=True))


def test_faces_and_weights_are_told_from_the_records_that_jobs_and_provenance_files_have():
    flag = {"code": "tiny", "reason": "it is small"}
    faces = [
        {"id": "a", "status": "restored", "reason": None, "review": (flag,)},
        {"id": "b", "status": "skipped", "reason": "another face is larger", "review": []},
        {"id": "c", "status": "failed", "reason": "it came out flat"},
        {"id": "d", "status": "rejected", "reason": "no face"},
    ]
    told = row(**of_faces(faces))
    assert (told.faces_found, told.faces_restored, told.faces_skipped) == (3, 1, 2)
    assert told.face_notes[1] == FaceNote(face="c", status="failed", reason="it came out flat")
    assert told.review == (ReviewNote(face="a", code="tiny", reason="it is small"),)
    model = {"name": "gfpgan-1.4", "sha256": SHA, "engine": "torch-cuda", "parser": None, "tile_px": 0}
    model |= {"detector": {"name": "retinaface", "sha256": SHA[::-1]}}
    told = row(**of_model(model))
    assert (told.model, told.engine) == ("gfpgan-1.4", "torch-cuda")
    assert told.weights == {"gfpgan-1.4": SHA, "retinaface": SHA[::-1]}


def test_a_recipe_is_told_by_its_options_and_weights_and_not_by_their_order_or_the_results_names():
    options, weights = {"scale": 2.0, "model": "preview", "suffix": "-a"}, {"x": SHA, "y": SHA}
    one = recipe_sha256(options, weights)
    assert one == recipe_sha256({"suffix": "", "model": "preview", "scale": 2.0}, {"y": SHA, "x": SHA})
    assert one != recipe_sha256(options | {"scale": 1.0}, weights)
    assert one != recipe_sha256(options, weights | {"x": SHA[::-1]})
