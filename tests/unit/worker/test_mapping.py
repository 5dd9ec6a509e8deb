"""The submitter's words reach the pipeline, every one of them."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

from jobs.options import JobOptions
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
    faces="largest",
    min_face_px=20,
    max_face_px=900,
    max_faces=3,
    min_score=0.8,
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


def test_the_mapping_is_light_to_import():
    code = "import sys, worker.mapping; sys.exit('numpy' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
