"""``restore`` and ``submit`` take the same flags for the same wishes, and the seed project's values."""

from __future__ import annotations

import pytest
from typer.main import get_command

from jobs.options import JobOptions
from photomend.cli import app
from photomend.commands.flags import as_options

COMMANDS = get_command(app).commands


def flags_of(command: str) -> dict[str, set[str]]:
    return {param.name: set(param.opts) for param in COMMANDS[command].params}


def test_what_both_commands_take_has_the_same_flags():
    restore, submit = flags_of("restore"), flags_of("submit")
    wishes = {"model", "scale", "background", "tile_px", "strength", "faces", "only_center", "aligned", "outputs"}
    assert wishes <= set(restore) & set(submit)
    assert {name: restore[name] for name in wishes} == {name: submit[name] for name in wishes}


def test_every_default_of_restore_is_the_options_default():
    defaults = {param.name: param.default for param in COMMANDS["restore"].params}
    options = JobOptions().to_mapping()
    renamed = {"format": "picture_format", "metadata_policy": "metadata"}
    said = as_options({name: defaults[renamed.get(name, name)] for name in options}, only_center=False)
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


def test_what_was_not_said_is_left_out_and_an_empty_word_is_not():
    assert as_options({"model": None, "format": "", "scale": None}, only_center=True) == {
        "format": "",
        "faces": "center",
    }
