"""Where the faces of a 24-megapixel scan are: ours beside facexlib's ``detect_faces`` on the whole of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from photomend.bench import pictures
from photomend.bench.contest import (
    OURS,
    UPSTREAM,
    Contest,
    Ran,
    RowPlan,
    Runner,
    Side,
    Trial,
    Workshop,
    at_least,
    at_most,
)

#: Rows that a first picture lacks, which ours looks at before: its network is loaded, its engine chosen and its memory
#: there, but the scan's size is as new to it as that of every other picture in a process at work.
FEWER_ROWS = 100

#: From which score on facexlib's helper takes a face.
UPSTREAM_SCORE = 0.97


def _set_up(place: Workshop) -> None:
    from photomend.bench import seeded

    seeded.make(place)
    pictures.file(place, pictures.SCAN)


def _upstream(place: Workshop) -> Runner:
    import cv2
    import torch

    from photomend.bench import seeded
    from pipeline.weights import WeightStore
    from tests.parity.recall import facexlibs

    detector = facexlibs("resnet50", WeightStore(place.seeded), seeded.DETECTOR)
    image = cv2.imread(str(pictures.file(place, pictures.SCAN)))

    def run(case: str) -> Ran:
        del case
        # As facexlib's own helper calls it for GFPGANer.
        with torch.no_grad():
            detector.detect_faces(image, UPSTREAM_SCORE)
        return Ran()

    return run


def _ours(place: Workshop) -> Runner:
    from photomend.bench import seeded
    from pipeline.codec import read
    from pipeline.colour import SRGB
    from pipeline.compat import prepare
    from pipeline.engines.choice import Engines
    from pipeline.options import RestoreOptions
    from pipeline.picture import of_samples
    from pipeline.restorer import Restorer

    prepare()
    shelf = seeded.shelf_of(place)
    restorer = Restorer(shelf, Engines.choose(shelf.device, cache=place.folder / "cache"))
    source = read(pictures.file(place, pictures.SCAN).read_bytes())
    restorer.find(of_samples(source.samples[:-FEWER_ROWS], SRGB), RestoreOptions())

    def run(case: str) -> Ran:
        del case
        found = restorer.find(source.picture, RestoreOptions())
        return Ran(stages={str(stage): seconds for stage, seconds in found.seconds.items()})

    return run


def _recall(place: Workshop) -> Mapping[str, Any]:
    """Faces of all shared photos, by the same released weights; nothing where there are none."""
    if place.photos is None or place.weights is None:
        return {}
    from pipeline.engines.choice import AUTO
    from pipeline.restorer import Restorer
    from pipeline.weights import WeightStore
    from tests.parity.recall import DETECTOR, facexlibs, found, missed, seen

    store = WeightStore(place.weights)
    theirs = facexlibs("mobile0.25", store, DETECTOR)
    restorer = Restorer.load(store, device="cpu", engine=AUTO, cache=place.folder / "cache")
    pairs = [(seen(path, theirs), found(path, restorer)[0]) for path in sorted(place.photos.iterdir())]
    return {
        "photos": len(pairs),
        "faces_upstream": sum(len(upstreams) for upstreams, _ in pairs),
        "faces_ours": sum(len(ours) for _, ours in pairs),
        "faces_missed": sum(len(missed(*pair)) for pair in pairs),
    }


CONTESTS = (
    Contest(
        name="detect",
        cases=(pictures.SCAN,),
        once=(pictures.SCAN,),
        about_s=120,
        set_up=_set_up,
        # Upstream takes a minute and a half: once, and by the allocator that it starts with.
        sides={UPSTREAM: Side(prepare=_upstream, is_tuned=False), OURS: Side(prepare=_ours)},
        rows=(
            RowPlan(
                name="detect-24mp",
                promises=(at_least("ratio", 30.0),),
                note="RetinaFace (ResNet-50, seeded) on a 24-megapixel scan: ours, on bounded copies, in the fastest"
                " precision that passes the canary, beside facexlib's on the whole scan; run once",
            ),
        ),
    ),
)

TRIALS = (
    Trial(
        name="detect-recall",
        measure=_recall,
        promises=(at_most("faces_missed", 0.0),),
        note="faces of all shared photos that facexlib's pass over the whole photo finds and ours does not, by the"
        " released MobileNet-0.25 weights; a ResNet-50 file could not be had",
    ),
)
