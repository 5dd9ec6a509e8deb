"""The submitter's words reach the pipeline, every one of them."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
import tomllib
from importlib import resources
from typing import get_args

import pytest

from jobs import options as wire
from jobs.faces import FACE_ID, FACE_WORDS
from jobs.kinds import DETECT_OPTIONS, DETECT_OUTPUTS
from jobs.options import JobOptions
from pipeline import options as ours
from pipeline.choice import is_id
from pipeline.errors import UnsupportedOption
from pipeline.options import OutputOptions, RestoreOptions
from worker.mapping import output_options, restore_options

#: ``suffix`` names files; ``outputs`` decides ``keep_crops``.
NOT_THE_PIPELINES = {"suffix"}
NOT_THE_SUBMITTERS = {"keep_crops"}

#: No value is its default, so a forgotten field shows.
UNUSUAL = JobOptions(
    model="gfpgan-1.3",
    scale=3.5,
    background="realesr-general-x4v3",
    denoise=0.25,
    tile_px=256,
    strength=0.75,
    faces=("g5k2p", (1.0, 2.0, 3.0, 4.0)),
    min_face_px=20,
    max_face_px=900,
    max_faces=3,
    min_score=0.8,
    rotate=True,
    passes=2,
    aligned=True,
    gray="allow-color",
    format="tiff",
    quality=80,
    bit_depth="16",
    suffix="-x",
    outputs=("faces", "mask"),
    metadata_policy="strip",
    precision="exact",
    seed=7,
)


def words(options: RestoreOptions | OutputOptions) -> dict[str, object]:
    return {f.name: getattr(options, f.name) for f in dataclasses.fields(options)}


def test_every_wish_arrives_with_its_value():
    arrived = words(restore_options(UNUSUAL)) | words(output_options(UNUSUAL))
    wished = {f.name: getattr(UNUSUAL, f.name) for f in dataclasses.fields(UNUSUAL)}
    assert {name: arrived[name] for name in wished if name not in NOT_THE_PIPELINES} == {
        name: value for name, value in wished.items() if name not in NOT_THE_PIPELINES
    }
    assert set(arrived) - set(wished) == NOT_THE_SUBMITTERS


def test_crops_are_kept_when_faces_are_wanted():
    assert restore_options(JobOptions(outputs=("faces",))).keep_crops
    assert not restore_options(JobOptions()).keep_crops


def test_both_vocabularies_have_the_same_defaults():
    assert restore_options(JobOptions()) == RestoreOptions()
    assert output_options(JobOptions()) == OutputOptions()


def test_both_vocabularies_have_the_same_ranges():
    assert ours.RANGES == wire.RANGES
    assert ours.TILE_PX == wire.TILE_PX


@pytest.mark.parametrize(
    ("name", "choice"),
    [
        ("gray", ours.GrayChoice),
        ("precision", ours.Precision),
        ("format", ours.FormatChoice),
        ("bit_depth", ours.DepthChoice),
        ("metadata_policy", ours.MetadataPolicy),
    ],
)
def test_both_vocabularies_have_the_same_words(name, choice):
    assert get_args(choice) == wire.CHOICES[name]


def test_both_vocabularies_have_the_same_words_and_ids_for_faces():
    assert get_args(ours.FaceWord) == FACE_WORDS
    assert {c for c in map(chr, range(256)) if is_id(f"{c}0000")} == {
        c for c in map(chr, range(256)) if re.fullmatch(FACE_ID, f"{c}0000")
    }
    assert {c for c in map(chr, range(256)) if is_id(f"a000{c}")} == {
        c for c in map(chr, range(256)) if re.fullmatch(FACE_ID, f"a000{c}")
    }


def test_both_vocabularies_have_the_same_options_of_a_detection():
    assert {*ours.DETECTION, "outputs"} == DETECT_OPTIONS
    assert set(DETECT_OUTPUTS) < set(get_args(ours.OutputName))


def test_both_vocabularies_name_the_same_outputs():
    assert get_args(ours.OutputName) == wire.OUTPUTS


def test_every_model_and_background_that_jobs_may_name_is_in_the_table_of_weights():
    table = tomllib.loads((resources.files("pipeline") / "weights.toml").read_text())["weights"]
    kinds = {entry["name"]: entry["kind"] for entry in table}
    assert {kinds[name] for name in wire.MODELS} == {"restorer"}
    # preview-x2 is a word already; its weights come with a later pack, and until then a job that names it fails so.
    assert {kinds[name] for name in wire.BACKGROUNDS if name not in {"auto", "none", "preview-x2"}} == {"upsampler"}


@pytest.mark.parametrize("name", sorted(ours.RANGES))
def test_the_pipeline_refuses_what_is_out_of_range_by_itself(name):
    """A caller of the pipeline alone used to get ``min_score=7`` taken without a word, and no face found."""
    options = next(kind for kind in (RestoreOptions, OutputOptions) if name in kind.__dataclass_fields__)
    low, high = ours.RANGES[name]
    for value in (low - 1, high + 1, float("nan")):
        with pytest.raises(UnsupportedOption, match=name):
            options(**{name: value})
    assert [getattr(options(**{name: value}), name) for value in (low, high)] == [low, high]


@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        (RestoreOptions, "tile_px", 64),
        (RestoreOptions, "faces", "biggest"),
        (RestoreOptions, "faces", ()),
        (RestoreOptions, "faces", ("all",)),
        (RestoreOptions, "faces", ((5.0, 5.0, 1.0, 9.0),)),
        (RestoreOptions, "precision", "half"),
        (OutputOptions, "format", "bmp"),
        (OutputOptions, "bit_depth", "32"),
        (OutputOptions, "outputs", ("image", "video")),
        (OutputOptions, "outputs", ()),
    ],
)
def test_the_pipeline_refuses_words_that_it_does_not_know(options, name, value):
    with pytest.raises(UnsupportedOption, match=name):
        options(**{name: value})


def test_the_mapping_is_light_to_import():
    code = "import sys, worker.mapping; sys.exit('numpy' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_api_tells_every_field_of_a_face():
    from api.schemas import FaceView, ReviewView
    from pipeline.types import FaceRecord, FaceStatus, ReviewFlag

    assert set(FaceView.model_fields) == {f.name for f in dataclasses.fields(FaceRecord)}
    assert set(get_args(FaceView.model_fields["status"].annotation)) == set(FaceStatus)
    assert set(ReviewView.model_fields) == {f.name for f in dataclasses.fields(ReviewFlag)}
