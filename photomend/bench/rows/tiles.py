"""Whole backgrounds by tiles: ours through the engine that it chooses beside Real-ESRGAN's own tiles, both networks.

Upstream's settings are those of GFPGAN's script: tiles of 400 px with 10 px around, in float32 as it must be on a CPU.
"""

from __future__ import annotations

import contextlib
import io

from photomend.bench import pictures
from photomend.bench.contest import Contest, Prepare, Ran, RowPlan, Runner, Workshop, at_least, duel

#: Network → how it is called in rows, by how much it enlarges.
NETWORKS = {"realesr-general-x4v3": ("srvgg", 4), "realesrgan-x2plus": ("rrdb", 2)}
#: Upstream's tiles and what is read around them (px). Source: GFPGAN's inference_gfpgan.py.
TILE_PX, PAD_PX = 400, 10
#: The picture: 700 x 464 px, which are four tiles upstream's way; and a smaller one that only warms up.
CASE, WARM = "blake", "small"
WARM_PX = 128


def _set_up(place: Workshop) -> None:
    from photomend.bench import seeded

    seeded.make(place)
    pictures.file(place, CASE)


def _upstream(name: str) -> Prepare:
    def prepare(place: Workshop) -> Runner:
        import cv2

        from pipeline.arch import upsamplers
        from pipeline.compat import foreign
        from pipeline.weights import WeightStore

        kind, scale = NETWORKS[name]
        network = upsamplers.build_srvgg(scale=scale) if kind == "srvgg" else upsamplers.build_rrdb(scale=scale)
        with foreign():
            from realesrgan import RealESRGANer

        enlarge = RealESRGANer(
            scale=scale,
            model_path=str(WeightStore(place.seeded).path(name)),
            model=network,
            tile=TILE_PX,
            tile_pad=PAD_PX,
            pre_pad=0,
            device="cpu",
        )
        photo = cv2.imread(str(pictures.file(place, CASE)))
        assert photo is not None  # noqa: S101 - our own file
        given = {CASE: photo, WARM: photo[:WARM_PX, :WARM_PX]}

        def run(case: str) -> Ran:
            with contextlib.redirect_stdout(io.StringIO()):  # it tells of each tile
                result, _ = enlarge.enhance(given[case], outscale=scale)
            return Ran(output=result[:, :, ::-1])

        return run

    return prepare


def _ours(name: str) -> Prepare:
    def prepare(place: Workshop) -> Runner:
        import functools

        import numpy as np

        from photomend.bench import seeded
        from pipeline.casting import Canaries
        from pipeline.codec import read
        from pipeline.engines.choice import Engines
        from pipeline.picture import Drawn, whole
        from pipeline.render import quantised
        from pipeline.types import compute_here
        from pipeline.upsample import BackgroundUpsampler

        scale = NETWORKS[name][1]
        shelf = seeded.shelf_of(place)
        canaries = Canaries(Engines.choose(shelf.device, cache=place.folder / "cache"))
        enlarge = BackgroundUpsampler(functools.partial(shelf.get, name), shelf.device)
        photo = np.ascontiguousarray(whole(read(pictures.file(place, CASE).read_bytes()).picture))
        given = {CASE: Drawn(photo), WARM: Drawn(np.ascontiguousarray(photo[:WARM_PX, :WARM_PX]))}

        def run(case: str) -> Ran:
            picture, casting = given[case], canaries.casting(name, "auto")
            size = picture.width * scale, picture.height * scale
            enlarged, tile_px = enlarge(picture, size, compute=compute_here, casting=casting)
            result = quantised(enlarged.rows(slice(0, size[1])), 8)
            how = f"{casting.way.engine}-{shelf.device.type} {casting.precision}, tiles of {tile_px} px"
            return Ran(output=result, how={"upsampler": how})

        return run

    return prepare


def _contest(name: str, *, ratio: float, about_s: float) -> Contest:
    row = f"{NETWORKS[name][0]}-tile"
    return Contest(
        name=row,
        set_up=_set_up,
        sides=duel(upstream=_upstream(name), ours=_ours(name)),
        cases=(CASE,),
        warm=WARM,
        about_s=about_s,
        rows=(
            RowPlan(
                name=row,
                promises=(at_least("ratio", ratio),),
                note=f"{name} with seeded weights over 700 x 464 px beside RealESRGANer (tile={TILE_PX})",
            ),
        ),
    )


CONTESTS = (
    _contest("realesr-general-x4v3", ratio=2.0, about_s=60),
    _contest("realesrgan-x2plus", ratio=2.2, about_s=110),
)
