"""A detection tells of faces and changes nothing: record, marked picture, errors."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from pipeline.annotate import MAX_SIDE, annotated, shown_size
from pipeline.errors import Cancelled, FaceNotFound, TruncatedImage, WeightsMissing
from pipeline.finding import find_faces
from pipeline.options import OutputOptions, RestoreOptions
from pipeline.resize import resize
from pipeline.selection import found, notices, select
from pipeline.types import Detection, FaceStatus, Stage, compute_here
from tests.unit.pipeline.corpus import LOSSLESS, saved
from tests.unit.pipeline.test_selection import face

BOTH = OutputOptions(outputs=("image", "provenance"))


class Sees:
    """Finds these faces in every picture."""

    def __init__(self, *faces) -> None:
        self.faces = faces

    def require_detector(self) -> None:
        pass

    def find(self, picture, options, *, on_progress=None, compute=compute_here):
        candidates = select(self.faces, options, width=picture.width, height=picture.height)
        told = {"faces": found(candidates), "warnings": notices(candidates)}
        return Detection(**told, seconds={Stage.DETECT: 0.25}, model={"name": "sees", "sha256": "00"})


def picture(width=400, height=300) -> bytes:
    return saved(Image.new("RGB", (width, height), (90, 120, 200)), "PNG")


def look(*faces, data=None, output=BOTH, options=None, **more):
    wishes = {"options": options or RestoreOptions(), "output": output, "finder": Sees(*faces)}
    return find_faces(data or picture(), **wishes | more)


def test_every_candidate_is_told_with_what_would_become_of_it():
    faces = face(20, 20, 100), face(200, 20, 90, score=0.4), face(300, 100, 30)
    outputs = look(*faces, options=RestoreOptions(max_faces=1))
    assert [(f.status, f.reason) for f in outputs.report.faces] == [
        (FaceStatus.FOUND, None),
        (FaceStatus.REJECTED, "score 0.40 is below 0.5"),
        (FaceStatus.SKIPPED, "1 larger faces were restored (max_faces)"),
    ]
    assert (outputs.report.width, outputs.report.height) == (400, 300)
    assert set(outputs.report.seconds) == {"decode", "detect", "encode"}


def test_the_record_has_the_faces_and_the_options_that_decided():
    outputs = look(face(20, 20, 100), options=RestoreOptions(min_score=0.7))
    record = json.loads(outputs.part("provenance").data)
    assert record["kind"] == "detect"
    assert record["output"] is None
    assert record["faces"][0]["id"] == outputs.report.faces[0].id
    assert record["options"]["min_score"] == 0.7
    assert "scale" not in record["options"]
    assert record["model"]["name"] == "sees"
    assert record["input"]["sha256"] == outputs.report.input_sha256
    assert look(face(20, 20, 100)).parts == look(face(20, 20, 100)).parts, "the same in every run"


def test_only_what_is_asked_for_is_made():
    assert [part.name for part in look(output=OutputOptions(outputs=("provenance",))).parts] == ["provenance"]
    image = look(output=OutputOptions(outputs=("image",))).part("image")
    assert (image.content_type, Image.open(io.BytesIO(image.data)).format) == ("image/jpeg", "JPEG")


@pytest.mark.parametrize("name", ["png-gray-16", "png-rgba-8", "tiff-cmyk-8", "png-palette-8-transparent"])
def test_every_kind_of_picture_can_be_marked(name):
    outputs = look(data=LOSSLESS[name]())
    with Image.open(io.BytesIO(outputs.part("image").data)) as marked:
        assert marked.mode == "RGB"


def test_errors_are_those_of_a_restoration():
    with pytest.raises(TruncatedImage):
        look(data=picture()[:60])
    with pytest.raises(FaceNotFound):
        look(face(20, 20, 100), options=RestoreOptions(faces=("mzzzz",)))

    class Blind(Sees):
        def require_detector(self):
            raise WeightsMissing("none")

    with pytest.raises(WeightsMissing):
        find_faces(b"not looked at", options=RestoreOptions(), output=BOTH, finder=Blind())

    def stop(stage, fraction):
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        look(on_progress=stop)


def marks(image, *faces, **options):
    height, width = image.shape[:2]
    told = found(select(faces, RestoreOptions(**options), width=width, height=height))
    image = np.clip(resize(image, *shown_size(width, height, told)), 0, 1)
    image.setflags(write=False)
    return annotated(image, told, width=width, height=height).astype(int)


def test_boxes_are_drawn_where_the_faces_are():
    image = np.full((300, 400, 3), 0.5, np.float32)
    marked = marks(image, face(100, 150, 100))
    assert marked.shape == image.shape
    middle = marked[180:230, 130:180]
    assert np.abs(middle - 128).max() <= 1, "the face itself can be seen"
    for edge in (marked[150, 110:190], marked[160:240, 100], marked[160:240, 200]):
        assert (edge[:, 1] - edge[:, 0]).min() > 80, "green"
    tag = marked[128:149, 100:150]
    assert (tag.sum(axis=-1) < 120).any(), "the id is written above it"
    assert np.abs(marked[:, 260:] - 128).max() <= 1


def test_what_becomes_of_a_face_shows_in_its_colour_and_false_ones_have_no_name():
    image = np.full((300, 400, 3), 0.5, np.float32)
    skipped = marks(image, face(100, 150, 100), min_face_px=200)
    assert (skipped[150, 110:190, 0] > 200).all()
    rejected = marks(image, face(100, 150, 100, score=0.4))
    assert (rejected[150, 110:190, 1] < 60).all()
    assert np.abs(rejected[120:148] - 128).max() <= 1


def test_small_faces_are_shown_enlarged_and_large_pictures_bounded():
    small = np.full((200, 300, 3), 0.5, np.float32)
    assert marks(small, face(50, 50, 28)).shape == (400, 600, 3)
    assert marks(small).shape == (200, 300, 3)
    large = np.full((20, 3000, 3), 0.5, np.float32)
    assert marks(large).shape[1] == MAX_SIDE


def test_a_name_never_leaves_the_picture():
    image = np.full((60, 60, 3), 0.5, np.float32)
    for x, y in ((0, 0), (20, 20), (0, 20), (20, 0)):
        assert (marks(image, face(x, y, 40)).sum(axis=-1) < 120).any(), "the letters are there"
