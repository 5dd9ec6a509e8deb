"""What results of a batch are called."""

from __future__ import annotations

import pytest

from jobs.batches.manifest import Entry
from jobs.batches.naming import DEFAULT, check_template, image_ending, output_key, part_ending
from jobs.errors import InvalidRequest
from jobs.model import ObjectRef

SOURCE = ObjectRef(bucket="scans", key="masters/1923/box 4/a.b.TIF")


def named(template: str = DEFAULT, *, output: str | None = None, source: ObjectRef = SOURCE, **words: object) -> str:
    said = {"part": "image", "ending": ".TIF", "suffix": "", "number": 7, "base": "masters/"} | words
    return output_key(template, Entry(source=source, output=output), source, **said)  # type: ignore[arg-type]


def test_a_result_keeps_its_name_and_folder_below_the_source_prefix() -> None:
    assert named() == "1923/box 4/a.b.TIF"
    assert named(base="") == "masters/1923/box 4/a.b.TIF"
    assert named(source=ObjectRef(bucket="scans", key="masters/a.tif"), ending=".tif") == "a.tif"


def test_parts_and_suffixes_are_marked() -> None:
    assert named(suffix="-mended") == "1923/box 4/a.b-mended.TIF"
    assert named(part="mask", ending=".png") == "1923/box 4/a.b-mask.png"
    assert named(part="faces/0", ending=".png", suffix="-m") == "1923/box 4/a.b-m-faces-0.png"


def test_a_template_may_use_everything_that_tells_items_apart() -> None:
    assert named("{bucket}/{number}{ext}") == "scans/00000007.TIF"
    assert named("x/{dir}/{dir}/{stem}{ext}", source=ObjectRef(bucket="scans", key="a.tif"), base="") == "x/a.TIF"


def test_a_name_in_the_manifest_replaces_the_template_and_its_ending_follows_what_was_written() -> None:
    assert named(output="1931/oma.jpg") == "1931/oma.TIF"
    assert named(output="1931/oma.1", part="provenance", ending=".json") == "1931/oma.1-provenance.json"
    for wrong in ("../x", "/x", ""):
        with pytest.raises(InvalidRequest):
            named(output=wrong)


@pytest.mark.parametrize(
    "template",
    [
        "{stem}", "{ext}", "fixed{ext}", "{stem}{ext}{colour}", "{stem!r}{ext}", "{stem:>9}{ext}", "{stem",
        "../{stem}{ext}", "{stem.__class__}{ext}", "{0}{stem}{ext}", "{stem}{ext}" + "x" * 300,
    ],
)  # fmt: skip
def test_a_template_that_gives_no_names_is_refused(template: str) -> None:
    with pytest.raises(InvalidRequest):
        check_template(template)


def test_good_templates_pass() -> None:
    for template in (DEFAULT, "{stem}-{number}{ext}", "{bucket}/{dir}/{stem}{suffix}{ext}"):
        assert check_template(template) == template


def test_a_sources_own_ending_stays_where_it_fits() -> None:
    def source(key: str) -> ObjectRef:
        return ObjectRef(bucket="scans", key=key)

    assert image_ending(source("a.JPEG"), "auto") == ".JPEG"
    assert image_ending(source("a.JPEG"), "jpeg") == ".JPEG"
    assert image_ending(source("a.JPEG"), "tiff") == ".tif"
    assert image_ending(source("a.gif"), "auto") is None
    assert image_ending(source("a"), "auto") is None
    assert part_ending(source("a.tiff"), "tif") == ".tiff"
    assert part_ending(source("a.gif"), "png") == ".png"
