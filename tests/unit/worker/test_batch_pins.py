"""What a batch is pinned to: the same networks that the pipeline would choose, by the same names."""

from __future__ import annotations

import pytest

from jobs.backlog import Slots
from jobs.batches.manifest import ManifestInvalid, Prefix
from jobs.batches.model import BatchSpec
from jobs.model import ObjectRef
from jobs.options import JobOptions
from worker.batch_pins import ALWAYS, AUTO_BACKGROUND, RESTORERS, pins_of


def slots(*names: str, engine: str = "torch 2.13 on cpu", sha256: str = "a") -> Slots:
    models = tuple({"name": name, "sha256": sha256 * 64, "kind": "any"} for name in names)
    return Slots(worker=f"w{names}", queues=(), free=1, total=1, models=models, engine=engine)


def spec(**options: object) -> BatchSpec:
    source = Prefix(bucket="scans", prefix="in/")
    said = JobOptions.from_mapping({"precision": "exact", **options})
    return BatchSpec(source=source, output=ObjectRef(bucket="mended", key="x/"), options=said)


def test_the_names_are_the_pipelines() -> None:
    from pipeline import shelf
    from pipeline.precision import Precision
    from worker.batch_items import EXACT

    assert ALWAYS == (shelf.DETECTORS, shelf.PARSERS, shelf.RECOGNISERS)
    assert RESTORERS == (shelf.DEFAULT_MODEL, shelf.PREVIEW_MODEL)
    assert AUTO_BACKGROUND == shelf.AUTO_BACKGROUND
    assert EXACT in {str(one) for one in Precision}


def test_what_is_left_open_is_what_the_fleet_would_choose() -> None:
    cpu = pins_of([slots("preview", "gfpgan-1.4", "preview-detector", AUTO_BACKGROUND)], spec())
    assert (cpu.model, cpu.background, cpu.precision) == ("gfpgan-1.4", "none", "exact")
    assert cpu.always == ("preview-detector",)
    gpu = pins_of([slots("preview", "bisenet", AUTO_BACKGROUND, engine="torch on cuda")], spec())
    assert (gpu.model, gpu.background, gpu.always) == ("preview", AUTO_BACKGROUND, ("bisenet",))
    mixed = pins_of(
        [slots("preview", AUTO_BACKGROUND, engine="t on cuda"), slots("preview", engine="t on cpu")], spec()
    )
    assert (mixed.background, len(mixed.engines)) == ("none", 2)


@pytest.mark.parametrize(
    ("fleet", "options"),
    [
        ([slots("preview")], {"model": "gfpgan-1.4"}),
        ([slots("preview-detector")], {}),
        ([slots("preview")], {"background": "realesrgan-x4plus"}),
        ([slots("preview"), slots("preview", sha256="b")], {}),
    ],
)
def test_a_fleet_that_has_not_one_and_the_same_file_is_refused(fleet, options) -> None:
    with pytest.raises(ManifestInvalid):
        pins_of(fleet, spec(**options))
