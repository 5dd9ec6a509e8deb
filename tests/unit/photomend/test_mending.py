"""Files in, files out: nothing is overwritten, nothing half written, one bad picture does not stop the rest."""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import os
import stat
from pathlib import Path

import pytest
from PIL import Image

from jobs.options import JobOptions
from photomend import mending
from photomend.files import FileRefused, Flat, Gfpgan, Input, OneFile, find_inputs, write_whole
from photomend.mending import Mender
from photomend.outcomes import Failed, Finished, as_json
from photomend.terminal import Terminal
from pipeline.codec import Limits
from pipeline.types import ReviewFlag
from tests.unit.pipeline.corpus import LOSSLESS
from tests.unit.pipeline.test_restoration import Lighten
from worker import memory

PICTURE = LOSSLESS["png-rgb-8"]()


def mender(out: Path, *, outputs=("image", "provenance"), layout=None, **more) -> Mender:
    given = {"restorer": Lighten(), "limits": Limits(), "options": JobOptions(scale=1.0, outputs=outputs)}
    return Mender(**given | {"layout": layout or Flat(folder=out)} | more)


def mend(worker: Mender, *paths: Path) -> list[Finished | Failed]:
    sources = [Input(path=path) for path in paths]
    return list(worker.mend_all(sources, on_progress=lambda _: lambda *_: None))


def put(path: Path, data: bytes = PICTURE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_results_lie_beside_each_other_under_the_input_s_name(tmp_path):
    source = put(tmp_path / "old.png")
    [outcome] = mend(mender(tmp_path / "out", outputs=("image", "faces", "mask", "comparison", "provenance")), source)
    assert isinstance(outcome, Finished)
    assert names(tmp_path / "out") == [
        "old.comparison.png", "old.face-0-before.png", "old.face-0.png",
        "old.mask.png", "old.png", "old.provenance.json",
    ]  # fmt: skip
    record = json.loads((tmp_path / "out" / "old.provenance.json").read_bytes())
    assert record["output"]["bytes"] == (tmp_path / "out" / "old.png").stat().st_size


def test_the_seed_project_s_folders_hold_what_its_users_expect(tmp_path):
    out = tmp_path / "out"
    layout = Gfpgan(folder=out, suffix="new")
    mend(mender(out, outputs=("image", "faces"), layout=layout, with_cmp=True), put(tmp_path / "old.png"))
    assert names(out) == [
        "cmp/old_00.png", "cropped_faces/old_00.png", "restored_faces/old_00_new.png", "restored_imgs/old_new.png",
    ]  # fmt: skip
    with Image.open(out / "cmp" / "old_00.png") as joined:
        assert joined.size == (1024, 512)


def test_the_extension_tells_the_truth_and_keeps_the_user_s_spelling(tmp_path):
    out = tmp_path / "out"
    mend(
        mender(out, outputs=("image",)),
        put(tmp_path / "photo.jpg"),
        put(tmp_path / "scan.TIF", LOSSLESS["tiff-gray-8"]()),
    )
    assert names(out) == ["photo.png", "scan.TIF"]


def test_an_existing_result_stays_unless_told_otherwise(tmp_path):
    source, old = put(tmp_path / "old.png"), put(tmp_path / "out" / "old.png", b"mine")
    [outcome] = mend(mender(tmp_path / "out"), source)
    assert outcome.code == "output_exists"
    assert old.read_bytes() == b"mine"
    [outcome] = mend(mender(tmp_path / "out", overwrite=True), source)
    assert isinstance(outcome, Finished)
    assert old.read_bytes() != b"mine"


def test_an_input_is_never_written_to(tmp_path):
    source = put(tmp_path / "old.png")
    link = tmp_path / "link.png"
    link.symlink_to(source)
    for layout in (Flat(folder=tmp_path), OneFile(path=source), OneFile(path=link)):
        [outcome] = mend(mender(tmp_path, layout=layout, overwrite=True), source)
        assert outcome.code == "output_is_input"
    assert source.read_bytes() == PICTURE


def test_two_pictures_never_share_a_result(tmp_path):
    same = put(tmp_path / "a" / "old.png"), put(tmp_path / "b" / "old.png")
    first, second = mend(mender(tmp_path / "out", overwrite=True), *same)
    assert isinstance(first, Finished)
    assert second.code == "output_taken"


def test_a_bad_picture_is_told_and_the_rest_goes_on(tmp_path):
    paths = [
        put(tmp_path / "a.png"),
        put(tmp_path / "b.jpg", b"no picture"),
        put(tmp_path / "c.png", PICTURE[: len(PICTURE) // 2]),
        tmp_path / "gone.png",
        put(tmp_path / "z.png"),
    ]
    outcomes = mend(mender(tmp_path / "out", outputs=("image",)), *paths)
    assert [getattr(o, "code", "mended") for o in outcomes] == [
        "mended", "image_unreadable", "image_truncated", "input_not_found", "mended",
    ]  # fmt: skip
    assert names(tmp_path / "out") == ["a.png", "z.png"]
    for outcome in outcomes:
        if isinstance(outcome, Failed):
            assert outcome.sentence.endswith(".")
            assert "vips" not in outcome.sentence.lower()


def test_too_many_pixels_are_refused_with_both_numbers(tmp_path):
    [outcome] = mend(mender(tmp_path / "out", limits=Limits(max_pixels=100)), put(tmp_path / "a.png"))
    assert outcome.code == "image_too_large"
    assert "37 x 23" in outcome.sentence


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_missing_permissions_are_told(tmp_path):
    source, out = put(tmp_path / "a.png"), tmp_path / "out"
    out.mkdir(mode=0o500)
    assert mend(mender(out), source)[0].code == "output_denied"
    source.chmod(0)
    assert mend(mender(tmp_path / "other"), source)[0].code == "input_denied"


def test_a_file_where_the_folder_should_be_is_told(tmp_path):
    [outcome] = mend(mender(put(tmp_path / "out", b"file")), put(tmp_path / "a.png"))
    assert outcome.code == "output_unusable"
    assert str(tmp_path / "out") in outcome.sentence


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    [outcome] = mend(mender(tmp_path / "out"), put(tmp_path / "a.png"))
    assert outcome.code == "output_unusable"
    assert "No space left" in outcome.sentence
    assert names(tmp_path / "out") == []


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path):
    target = put(tmp_path / "a.png", b"theirs")
    with pytest.raises(FileRefused):
        write_whole(b"ours", target, overwrite=False)
    assert target.read_bytes() == b"theirs"
    assert names(tmp_path) == ["a.png"]


def test_a_file_system_without_links_is_written_to_with_care_too(tmp_path, monkeypatch):
    def no_links(*_):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    write_whole(b"one", tmp_path / "a", overwrite=False)
    with pytest.raises(FileRefused, match="exists"):
        write_whole(b"two", tmp_path / "a", overwrite=False)
    assert (tmp_path / "a").read_bytes() == b"one"
    assert names(tmp_path) == ["a"]


def test_results_have_ordinary_permissions(tmp_path):
    umask = os.umask(0o022)
    try:
        write_whole(b"x", tmp_path / "a", overwrite=False)
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o644


def test_a_folder_gives_its_pictures_by_name_or_content_but_no_results(tmp_path):
    for name in ("b.jpg", "a.png", "sub/c.tif", ".hidden.png", "out/done.png", "no-extension"):
        put(tmp_path / name)
    put(tmp_path / "notes.txt", b"text")
    found = find_inputs([tmp_path], recursive=False, without=tmp_path / "out")
    assert [str(i.path.relative_to(tmp_path)) for i in found] == ["a.png", "b.jpg", "no-extension"]
    found = find_inputs([tmp_path], recursive=True, without=tmp_path / "out")
    assert [str(i.subfolder) for i in found] == [".", ".", ".", "sub"]
    with pytest.raises(FileRefused, match="no file or folder"):
        find_inputs([tmp_path / "gone"], recursive=False, without=tmp_path / "out")


def test_subfolders_are_kept(tmp_path):
    put(tmp_path / "in" / "1923" / "a.png")
    sources = find_inputs([tmp_path / "in"], recursive=True, without=tmp_path / "out")
    worker = mender(tmp_path / "out", outputs=("image",))
    list(worker.mend_all(sources, on_progress=lambda _: lambda *_: None))
    assert names(tmp_path / "out") == ["1923/a.png"]


def test_a_scan_and_its_copy_in_another_format_both_get_everything(tmp_path):
    put(tmp_path / "in" / "oma.png")
    put(tmp_path / "in" / "oma.tif", LOSSLESS["tiff-rgb-8-deflate"]())
    put(tmp_path / "in" / "opa.png")
    sources = find_inputs([tmp_path / "in"], recursive=False, without=tmp_path / "out")
    outcomes = list(mender(tmp_path / "out").mend_all(sources, on_progress=lambda _: lambda *_: None))
    assert [type(one) for one in outcomes] == [Finished] * 3
    assert names(tmp_path / "out") == [
        "oma.png", "oma.png.provenance.json", "oma.tif", "oma.tif.provenance.json",
        "opa.png", "opa.provenance.json",
    ]  # fmt: skip


def test_the_terminal_tells_faces_times_files_and_notes(tmp_path):
    source = put(tmp_path / "old.png")
    terminal = Terminal(width=200, file=io.StringIO())
    outcomes = terminal.follow([Input(path=source)], mender(tmp_path / "out").mend_all)
    terminal.summary(outcomes, tmp_path / "out")
    text = terminal.file.getvalue()
    assert "1 face found, 1 restored" in text
    assert "restore 0.50 s" in text
    assert str(tmp_path / "out" / "old.png") in text
    assert "note: Preview. [preview_weights]" in text
    assert json.loads(as_json(outcomes))["pictures"][0]["faces"][0]["status"] == "restored"


def test_the_terminal_says_which_faces_to_look_at_and_why(tmp_path):
    class Doubtful(Lighten):
        def __call__(self, *args, **kwargs):
            made = super().__call__(*args, **kwargs)
            flag = ReviewFlag(code="tiny", reason="it is enlarged 9.0 times")
            return dataclasses.replace(made, faces=(dataclasses.replace(made.faces[0], review=(flag,)),))

    for paths, said in (
        ([put(tmp_path / "a.png")], "face m5g5g: look at it, it is enlarged 9.0 times"),
        ([put(tmp_path / "b.png"), put(tmp_path / "c.png")], "2 faces to look at"),
    ):
        terminal = Terminal(width=200, file=io.StringIO())
        work = mender(tmp_path / "out", restorer=Doubtful()).mend_all
        terminal.summary(terminal.follow([Input(path=p) for p in paths], work), tmp_path / "out")
        assert said in terminal.file.getvalue()


def test_the_terminal_lists_every_failure_of_a_folder(tmp_path):
    terminal = Terminal(width=200, file=io.StringIO())
    paths = [put(tmp_path / "a.png"), put(tmp_path / "[b].jpg", b"no picture")]
    outcomes = terminal.follow([Input(path=p) for p in paths], mender(tmp_path / "out").mend_all)
    terminal.summary(outcomes, tmp_path / "out")
    text = terminal.file.getvalue()
    assert "1 of 2 pictures mended" in text
    assert "[b].jpg" in text
    assert "image_unreadable" in text
    assert json.loads(as_json(outcomes))["pictures"][1]["code"] == "image_unreadable"


def test_now_and_then_memory_that_nobody_uses_goes_back(tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr(mending, "GIVE_BACK_EVERY", 2)
    monkeypatch.setattr(memory, "give_back", lambda: called.append(len(names(tmp_path / "out"))))
    worker = mender(tmp_path / "out", outputs=("image",))
    mend(worker, *(put(tmp_path / f"{number}.png") for number in range(5)))
    assert called == [2, 4]
