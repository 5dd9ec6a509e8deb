"""``restore`` and ``submit`` take the same flags for the same wishes, and the seed project's values."""

from __future__ import annotations

import pytest
import typer
from typer.main import get_command

from jobs.kinds import DETECT_OPTIONS
from jobs.options import JobOptions
from photomend.cli import app
from photomend.commands.flags import as_options

COMMANDS = get_command(app).commands
#: Options whose parameter is called otherwise.
RENAMED = {"format": "picture_format", "metadata_policy": "metadata"}


def flags_of(command: str) -> dict[str, set[str]]:
    return {param.name: set(param.opts) for param in COMMANDS[command].params}


def test_what_both_commands_take_has_the_same_flags():
    restore, submit = flags_of("restore"), flags_of("submit")
    wishes = {"model", "scale", "background", "tile_px", "strength", "outputs"}
    wishes |= {"faces", "only_center", "rotate", "aligned"}
    assert wishes <= set(restore) & set(submit)
    assert {name: restore[name] for name in wishes} == {name: submit[name] for name in wishes}


@pytest.mark.parametrize("option", sorted(JobOptions.__dataclass_fields__))
def test_the_help_of_restore_explains_every_option_with_an_example(option):
    [param] = [p for p in COMMANDS["restore"].params if p.name == RENAMED.get(option, option)]
    assert any(flag in param.help for flag in param.opts if flag.startswith("--")), "its flag as one would type it"


def test_detect_takes_the_options_that_a_detection_honours_with_the_same_flags():
    restore, detect = flags_of("restore"), flags_of("detect")
    honoured = DETECT_OPTIONS - {"outputs"} | {"only_center"}
    assert honoured <= set(detect)
    assert {name: restore[name] for name in honoured} == {name: detect[name] for name in honoured}


def test_every_default_of_restore_is_the_options_default():
    defaults = {param.name: param.default for param in COMMANDS["restore"].params}
    options = JobOptions().to_mapping()
    said = as_options({name: defaults[RENAMED.get(name, name)] for name in options}, only_center=False)
    assert JobOptions.from_mapping(said) == JobOptions()


@pytest.mark.parametrize(
    ("name", "theirs", "ours"),
    [
        ("model", "1.3", "gfpgan-1.3"),
        ("model", "RestoreFormer", "restoreformer"),
        ("background", "realesrgan", "realesrgan-x2plus"),
        ("background", "None", "none"),
        ("format", "jpg", "jpeg"),
        ("model", "preview", "preview"),
    ],
)
def test_the_seed_projects_values_are_understood(name, theirs, ours):
    assert as_options({name: theirs}, only_center=False) == {name: ours}


def test_outputs_come_with_commas_or_repeated():
    assert as_options({"outputs": ["image, mask", "faces"]}, only_center=False) == {
        "outputs": ["image", "mask", "faces"]
    }


@pytest.mark.parametrize(
    ("said", "faces"),
    [
        (["largest"], "largest"),
        (["g5k2p,k7m1q"], ["g5k2p", "k7m1q"]),
        (["g5k2p", "10,20,110,140"], ["g5k2p", [10, 20, 110, 140]]),
    ],
)
def test_faces_are_a_word_or_ids_and_boxes_with_commas_or_repeated(said, faces):
    assert as_options({"faces": said}, only_center=False) == {"faces": faces}
    with pytest.raises(typer.BadParameter, match="say one of them"):
        as_options({"faces": said}, only_center=True)


def test_the_seed_projects_flag_for_the_center_face_is_understood():
    assert as_options({"faces": ["all"]}, only_center=True) == {"faces": "center"}


def test_what_was_not_said_is_left_out_and_an_empty_word_is_not():
    assert as_options({"model": None, "format": "", "scale": None}, only_center=True) == {
        "format": "",
        "faces": "center",
    }
