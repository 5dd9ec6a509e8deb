"""The sidecar is what its schema says, for every kind of picture, and the schema knows nothing that is not there."""

from __future__ import annotations

import dataclasses
import io
import json
from importlib import resources

import jsonschema
import numpy as np
import pytest
from PIL import Image

from pipeline import choice
from pipeline.finding import find_faces
from pipeline.formats import Format
from pipeline.options import DETECTION, OutputOptions, RestoreOptions
from pipeline.precision import Precision
from pipeline.restoration import process
from pipeline.restorer import Restorer
from pipeline.types import FaceRecord, FaceStatus
from pipeline.xmp import SourceType
from tests.unit.pipeline.corpus import LOSSLESS, saved
from tests.unit.pipeline.test_networks_at_work import in_turn
from tests.unit.pipeline.test_restorer import a_face, faces, weights  # noqa: F401  (fixtures)
from tests.unit.pipeline.test_restorer import restorer as of_arrays

SCHEMA = json.loads((resources.files("pipeline") / "provenance.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
BOTH = OutputOptions(outputs=("image", "provenance"))


def photo() -> bytes:
    rng = np.random.default_rng(5)
    return saved(Image.fromarray(rng.integers(0, 255, (240, 300, 3)).astype(np.uint8)), "PNG")


def restorer(store, *what):
    """The real restorer around small networks whose effect is known."""
    return Restorer(of_arrays(store, *what)._shelf)


def mended(run, data, *, output=BOTH, **options):
    wishes = RestoreOptions(**({"background": "none", "scale": 1} | options))
    return process(data, options=wishes, output=output, restorer=run)


def record_of(outputs):
    record = json.loads(outputs.part("provenance").data)
    VALIDATOR.validate(record)
    return record


def test_the_schema_is_one_and_describes_every_field():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)

    def walk(node, name):
        for key, value in node.get("properties", {}).items():
            assert "description" in value or "$ref" in value or "const" in value, f"{name}.{key}"
            walk(value, key)
        if isinstance(node.get("items"), dict):
            walk(node["items"], f"{name}[]")
        if node.get("type") == "object":
            assert node["additionalProperties"] is False, name
            assert node["description"], name

    walk(SCHEMA, "sidecar")
    for name, definition in SCHEMA["$defs"].items():
        assert definition["description"], name
        walk(definition, name)


KINDS = (
    "png-gray-1", "png-gray-16", "png-rgba-8", "png-palette-8-transparent", "tiff-rgba-16", "tiff-cmyk-8", "webp-rgb",
)  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_a_picture_of_any_kind_without_faces(weights, faces, name):  # noqa: F811
    record = record_of(mended(restorer(weights), LOSSLESS[name](), scale=2))
    assert record["faces"] == []
    assert "no_faces" in [warning["code"] for warning in record["warnings"]]
    assert record["input"]["alpha"] == ("rgba" in name or "transparent" in name)


def test_a_restored_a_skipped_a_rejected_and_a_failed_face(weights, faces):  # noqa: F811
    faces += [a_face(10, 60), a_face(160, 60), a_face(10, 10, 40), a_face(200, 10, 50, score=0.4)]
    run = restorer(weights, in_turn(lambda x: x * float("nan"), lambda x: x * 0.8))
    record = record_of(mended(run, photo(), min_face_px=50))
    assert sorted(face["status"] for face in record["faces"]) == ["failed", "rejected", "restored", "skipped"]
    assert all("seconds" not in face for face in record["faces"])


def test_a_jpeg_of_an_aligned_face_with_every_option_said(weights, faces):  # noqa: F811
    square = io.BytesIO()
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(square, "JPEG")
    every = {"strength": 0.5, "passes": 2, "aligned": True, "gray": "allow-color", "precision": "exact"}
    written = {"format": "tiff", "bit_depth": "16", "quality": 80, "metadata_policy": "strip", "gray": "allow-color"}
    output = OutputOptions(**written, outputs=("provenance",))
    record = record_of(mended(restorer(weights), square.getvalue(), output=output, **every))
    assert record["model"]["detector"] is None
    assert record["options"] == record["options"] | every | written


def test_a_background_network_and_chosen_faces(weights, faces):  # noqa: F811
    faces += [a_face(60, 50)]
    name = choice.face_id(faces[0].box, width=300, height=240)
    record = record_of(
        mended(restorer(weights), photo(), background="realesr-general-x4v3", faces=(name, (60.0, 50.0, 180.0, 170.0)))
    )
    assert record["model"]["background_model"]["name"] == "realesr-general-x4v3"
    assert record["options"]["faces"] == [name, [60.0, 50.0, 180.0, 170.0]]


def test_a_detection(weights, faces):  # noqa: F811
    faces += [a_face(60, 50), a_face(160, 50, score=0.4)]
    record = record_of(find_faces(photo(), options=RestoreOptions(), output=BOTH, finder=restorer(weights)))
    assert (record["kind"], record["output"]) == ("detect", None)
    assert [face["status"] for face in record["faces"]] == ["found", "rejected"]


def test_pixels_and_sidecar_are_the_same_bytes_in_every_run(weights, faces):  # noqa: F811
    faces += [a_face(60, 50), a_face(160, 50, score=0.4)]
    first, again = (mended(restorer(weights), photo(), scale=1.5).parts for _ in range(2))
    assert [bytes(part.data) for part in first] == [bytes(part.data) for part in again]


def test_an_unknown_field_or_a_missing_one_is_not_accepted_anywhere(weights, faces):  # noqa: F811
    faces += [a_face(60, 50)]
    text = mended(restorer(weights), photo()).part("provenance").data
    places = [
        (), ("input",), ("output",), ("options",), ("model",), ("model", "detector"), ("versions",), ("faces", 0),
        ("faces", 0, "review", 0),
    ]  # fmt: skip

    def changed(path, change):
        record = json.loads(text)
        record["faces"][0]["review"] = [{"code": "tiny", "reason": "it is small"}]
        assert VALIDATOR.is_valid(record)
        place = record
        for step in path:
            place = place[step]
        change(place)
        return record, set(place)

    for path in places:
        record, fields = changed(path, lambda place: place.update({"moon": "blue"}))
        assert not VALIDATOR.is_valid(record), path
        for name in fields - {"moon"}:
            record, _ = changed(path, lambda place, name=name: place.pop(name))
            assert not VALIDATOR.is_valid(record), (path, name)


def test_the_schema_has_exactly_the_code_s_words():
    options = {f.name for kind in (RestoreOptions, OutputOptions) for f in dataclasses.fields(kind)} - {"keep_crops"}
    definitions = SCHEMA["$defs"]
    assert set(definitions["restore_options"]["properties"]) == options
    assert set(definitions["detect_options"]["properties"]) == {*DETECTION, "outputs"}
    face = definitions["face"]["properties"]
    assert set(face) == {f.name for f in dataclasses.fields(FaceRecord)} - {"seconds"}
    assert set(face["status"]["enum"]) == set(FaceStatus)
    assert set(definitions["output"]["properties"]["digital_source_type"]["enum"]) == {None, *SourceType}
    assert set(definitions["weights"]["properties"]["precision"]["enum"]) == set(Precision)
    assert set(SCHEMA["properties"]["input"]["properties"]["format"]["enum"]) == set(Format)
