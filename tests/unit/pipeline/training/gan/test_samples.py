"""Samples: functions of seed, step and place alone; folders, LMDBs and the landmarks file."""

from __future__ import annotations

import lmdb
import numpy as np
import pytest
import torch
from numpy.random import default_rng

from pipeline.training.errors import WrongData
from pipeline.training.gan.components import make_landmarks, read_landmarks
from pipeline.training.gan.options import Degradation
from pipeline.training.gan.samples import Samples, Split, batches, noise_maps
from pipeline.training.gan.sources import FolderSource, open_source, picture, set_aside
from pipeline.training.gan.spoil import spoiled
from pipeline.types import Face
from tests.unit.pipeline.training.gan.conftest import PICTURES, SIDE, parts

CPU = torch.device("cpu")


@pytest.fixture
def samples(pictures, landmarks):
    source = open_source(pictures)
    return Samples(
        source=source, side=SIDE, seed=7, batch=4, mirror=True, degradation=Degradation(),
        landmarks=read_landmarks(landmarks, source), enlarge_eyes=1.4,
    )  # fmt: skip


def test_two_processes_see_what_one_sees_and_a_resumed_run_what_the_first_saw(samples):
    def steps(rank, world, first, workers=0):
        part = Split(batch=4, rank=rank, world=world)
        return list(batches(samples, part, first=first, last=3, workers=workers, device=CPU))

    whole = steps(0, 1, 0)
    halves = [steps(rank, 2, 0) for rank in (0, 1)]
    for name in ("degraded", "target", "boxes"):
        for step in range(3):
            assert torch.equal(whole[step][name][0::2], halves[0][step][name])
            assert torch.equal(whole[step][name][1::2], halves[1][step][name])
        assert torch.equal(steps(0, 1, 2, workers=1)[0][name], whole[2][name])


def test_each_epoch_has_every_picture_once_in_an_order_of_its_own(samples):
    epochs = [[samples.picture_at(epoch * PICTURES + at) for at in range(PICTURES)] for epoch in range(2)]

    assert all(sorted(epoch) == list(range(PICTURES)) for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_noise_is_a_picture_s_own_whoever_trains_it():
    one = noise_maps([4, 8], seed=1, step=2, part=Split(batch=4, rank=0, world=1), device=CPU)
    half = noise_maps([4, 8], seed=1, step=2, part=Split(batch=4, rank=1, world=2), device=CPU)

    assert [tuple(maps.shape) for maps in one] == [(4, 1, 4, 4), (4, 1, 8, 8)]
    assert all(torch.equal(whole[1::2], part) for whole, part in zip(one, half, strict=True))
    assert not torch.equal(one[0][0], one[0][1])


def test_mirrored_faces_have_their_eyes_on_the_other_side(samples):
    straight = samples.landmarks.boxes(0, side=SIDE, mirrored=False, enlarge_eyes=1)
    turned = samples.landmarks.boxes(0, side=SIDE, mirrored=True, enlarge_eyes=1)

    assert straight.tolist() == [[7, 9, 14, 16], [19, 9.5, 26, 16.5], [11, 19, 22, 30]]
    assert turned.tolist() == [[7, 9.5, 14, 16.5], [19, 9, 26, 16], [11, 19, 22, 30]]
    # Nothing that was read is written to.
    assert np.array_equal(samples.landmarks.boxes(0, side=SIDE, mirrored=False, enlarge_eyes=1), straight)


def test_degradation_keeps_size_and_range_and_can_make_the_target_gray(pictures):
    target = picture(open_source(pictures), 0)
    how = Degradation(gray=1, gray_targets=True, tone=1, shift=1)

    degraded, gray = spoiled(target, how, default_rng(0))

    assert degraded.shape == gray.shape == target.shape
    assert 0 <= degraded.min() <= degraded.max() <= 1
    assert np.ptp(gray, axis=2).max() == 0
    again, _ = spoiled(target, how, default_rng(0))
    assert np.array_equal(degraded, again)
    assert np.array_equal(spoiled(target, Degradation(), default_rng(0))[1], target)


def test_an_lmdb_gives_what_the_folder_gives(pictures, tmp_path):
    folder = open_source(pictures)
    place = tmp_path / "faces.lmdb"
    with lmdb.open(str(place), map_size=2**22) as opened, opened.begin(write=True) as writing:
        for index, name in enumerate(folder.names):
            writing.put(name.encode(), folder.coded(index))
    (place / "meta_info.txt").write_text("".join(f"{name}.png ({SIDE},{SIDE},3) 1\n" for name in folder.names))

    source = open_source(place)

    assert source.names == folder.names
    assert np.array_equal(picture(source, 3, side=SIDE), picture(folder, 3))
    with pytest.raises(WrongData, match="wanted is 64 x 64"):
        picture(source, 0, side=64)


def test_a_source_without_pictures_is_refused(tmp_path):
    for place, said in ((tmp_path / "nowhere", "not there"), (tmp_path, "no pictures")):
        with pytest.raises(WrongData, match=said):
            open_source(place)


def test_landmarks_are_found_by_name_or_by_number_and_what_lacks_is_named(tmp_path):
    def kept(*keys):
        torch.save({key: parts(eye=10 + at) for at, key in enumerate(keys)}, tmp_path / "marks.pth")
        return read_landmarks(tmp_path / "marks.pth", named).components[:, 0, 0].tolist()

    named = FolderSource(tmp_path)
    named.names = ("anna", "bert")
    assert kept("anna", "bert") == [10, 11]
    assert kept("00000000", "00000001") == [10, 11]
    assert kept("bert", "anna") == [11, 10]
    with pytest.raises(WrongData, match="lacks 1 of the 2 pictures, such as bert"):
        kept("anna")


def test_landmarks_are_made_by_a_detector_and_faceless_pictures_set_aside(pictures, tmp_path, monkeypatch):
    source = open_source(pictures)
    face = Face(
        box=(2, 3, 30, 31), landmarks=np.array([[10, 12], [22, 13], [16, 18], [11, 24], [21, 25]], np.float32), score=1
    )
    calls = iter([[face]] * (PICTURES - 1) + [[]])
    monkeypatch.setattr("pipeline.training.gan.components.find_once", lambda *_, **__: next(calls))

    made = make_landmarks(source, torch.nn.Identity(), tmp_path / "marks.pth", told=lambda done: None)

    assert (made.found, made.without) == (PICTURES - 1, (PICTURES - 1,))
    found = FolderSource(pictures)
    found.names = found.names[:-1]
    marks = read_landmarks(tmp_path / "marks.pth", found).components[0]
    assert marks[0].tolist()[:2] == [10, 12]
    assert marks[2].tolist() == [16, 24.5, 5]
    lone = tmp_path / "lone"
    lone.mkdir()
    (lone / "x.png").write_bytes(b"-")
    set_aside(FolderSource(lone), (0,), tmp_path / "aside")
    assert [p.name for p in (tmp_path / "aside").iterdir()] == ["x.png"]
