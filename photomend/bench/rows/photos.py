"""Whole photos: ours in every precision beside upstream, over the same files."""

from __future__ import annotations

from pathlib import Path

from photomend.bench import pictures
from photomend.bench.contest import (
    UPSTREAM,
    UPSTREAM_TUNED,
    Contest,
    Prepare,
    Ran,
    RowPlan,
    Runner,
    Side,
    Workshop,
    at_least,
    at_most,
)

#: Final size / input size of each case: the whole photos' is the targets', the scan is given back at its size.
SCALES = {"blake": 2.0, "10045": 2.0, "00": 2.0, pictures.EIGHT: 2.0, pictures.SCAN: 1.0}
THREE = tuple(pictures.PHOTOS)

SEEDED = "seeded full-size networks"


def _set_up(place: Workshop) -> None:
    from photomend.bench import ours, seeded

    seeded.make(place)
    for case in SCALES:
        faces = _faces_of(place, case)
        faces.parent.mkdir(parents=True, exist_ok=True)
        ours.write_faces(place, pictures.file(place, case), faces)


def _faces_of(place: Workshop, case: str) -> Path:
    return place.folder / "photos" / f"{case}.faces.json"


def _upstream(place: Workshop) -> Runner:
    from photomend.bench.upstream import Upstream

    enhance = Upstream(place)

    def run(case: str) -> Ran:
        return enhance(pictures.file(place, case), _faces_of(place, case), scale=SCALES[case])

    return run


def _ours(kind: str) -> Prepare:
    def prepare(place: Workshop) -> Runner:
        from photomend.bench import ours

        def restorer() -> ours.Ours:
            if kind == "preview":
                return ours.preview(place)
            if kind == "reference":
                return ours.reference(place)
            return ours.full_size(place, precision="auto" if kind == "auto" else "exact")

        restore = restorer()
        return lambda case: restore(pictures.file(place, case), scale=SCALES[case])

    return prepare


CONTESTS = (
    # By themselves, since upstream's processes keep what these took of memory; and with as few sides as they need.
    Contest(
        name="large",
        cases=(pictures.SCAN, pictures.EIGHT),
        once=(pictures.SCAN, pictures.EIGHT),
        about_s=215,
        set_up=_set_up,
        sides={UPSTREAM: Side(prepare=_upstream, is_tuned=False), "auto": Side(prepare=_ours("auto"))},
        rows=(
            RowPlan(
                name="scan-24mp",
                cases=(pictures.SCAN,),
                ours="auto",
                note="a 24-megapixel scan of two faces at scale 1, run once",
            ),
            RowPlan(
                name="eight-faces",
                cases=(pictures.EIGHT,),
                ours="auto",
                note="one picture of eight, scale 2, run once",
            ),
        ),
    ),
    Contest(
        name="photos",
        cases=THREE,
        about_s=450,
        set_up=_set_up,
        sides={
            UPSTREAM: Side(prepare=_upstream, is_tuned=False),
            UPSTREAM_TUNED: Side(prepare=_upstream),
            "exact": Side(prepare=_ours("exact")),
            "auto": Side(prepare=_ours("auto")),
            "preview": Side(prepare=_ours("preview")),
            "reference": Side(prepare=_ours("reference"), counts=False),
        },
        rows=(
            RowPlan(
                name="exact",
                cases=THREE,
                ours="exact",
                like="reference",
                promises=(at_least("ratio", 2.2), at_least("ratio_tuned", 1.5), at_most("own_max_abs_diff", 2.0)),
                note=f"precision=exact over the three whole photos, {SEEDED}; own_max_abs_diff: to torch's float32",
            ),
            RowPlan(
                name="auto",
                cases=THREE,
                ours="auto",
                like="exact",
                promises=(at_least("ratio", 5.0), at_least("ratio_tuned", 3.2), at_least("own_psnr_db", 50.0)),
                note=f"the same in the fastest precision that passes the canary; own_psnr_db: to exact, {SEEDED}",
            ),
            RowPlan(
                name="preview",
                cases=THREE,
                ours="preview",
                promises=(at_least("ratio", 20.0),),
                note="the preview pack's small networks beside upstream's full-size ones: not the same picture",
            ),
            RowPlan(name="one-photo", cases=("00",), ours="auto", note="two faces, 2.5 megapixels, scale 2"),
        ),
    ),
)
