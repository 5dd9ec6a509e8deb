"""Eight restored faces put back into a 24-megapixel picture: ours beside facexlib's, both without the parsing network.

The picture is smooth and made, the faces are its own crops, sharpened; both sides get the same crops and classes.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from photomend.bench.contest import Contest, Ran, RowPlan, Runner, Workshop, at_least, at_most, duel

if TYPE_CHECKING:
    from torch import Tensor

COUNT, ACROSS = 8, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    width: int  #: of the source, px
    height: int
    scale: int
    face_px: int  #: side of a face's region in the result


CASES = {
    "paste-24mp": _Case(width=6000, height=4000, scale=1, face_px=500),
    "paste-24mp-x2": _Case(width=3000, height=2000, scale=2, face_px=800),
}


def _picture(case: _Case) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(0).integers(0, 256, (case.height // 40, case.width // 40, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (case.width, case.height), interpolation=cv2.INTER_CUBIC), np.uint8)


def _landmarks(case: _Case) -> list[NDArray[np.float32]]:
    from pipeline.geometry import CROP_PX, FFHQ_TEMPLATE

    size = case.face_px / case.scale / CROP_PX
    centres = [
        ((i % ACROSS + 0.5) * case.width / ACROSS, (i // ACROSS + 0.5) * case.height * ACROSS / COUNT)
        for i in range(COUNT)
    ]
    return [((FFHQ_TEMPLATE - CROP_PX / 2) * size + centre).astype(np.float32) for centre in centres]


@functools.cache
def _classes() -> NDArray[np.uint8]:
    """A face in the middle of a crop."""
    y, x = np.mgrid[0:512, 0:512]
    return np.where(np.hypot(x - 256, (y - 256) * 0.8) < 150, 1, 0).astype(np.uint8)


def _restored(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.addWeighted(crop, 2.0, cv2.GaussianBlur(crop, (0, 0), 4), -1.0, 0), np.uint8)


def _helper(case: _Case) -> Any:
    """facexlib's, with the picture's faces cut out and restored."""
    import torch

    from pipeline.compat import foreign

    with foreign():
        from facexlib.utils import face_restoration_helper as upstream

    one_hot = torch.nn.functional.one_hot(torch.from_numpy(_classes()).long(), 19).permute(2, 0, 1)[None].float()

    class Parser(torch.nn.Module):
        def forward(self, faces: Tensor) -> tuple[Tensor, Tensor]:
            return one_hot, faces

    setattr(upstream, "init_detection_model", lambda *_, **__: None)  # noqa: B010
    setattr(upstream, "init_parsing_model", lambda *_, **__: Parser())  # noqa: B010
    helper = upstream.FaceRestoreHelper(
        case.scale, face_size=512, crop_ratio=(1, 1), use_parse=True, device=torch.device("cpu")
    )
    helper.read_image(np.ascontiguousarray(_picture(case)[:, :, ::-1]))
    helper.all_landmarks_5 = _landmarks(case)
    helper.align_warp_face()
    return helper


def _upstream(place: Workshop) -> Runner:
    del place
    helpers = {name: _helper(case) for name, case in CASES.items()}
    faces = {name: [_restored(crop) for crop in helper.cropped_faces] for name, helper in helpers.items()}

    def run(case: str) -> Ran:
        helper = helpers[case]
        helper.restored_faces, helper.inverse_affine_matrices = list(faces[case]), []
        helper.get_inverse_affine()
        return Ran(output=helper.paste_faces_to_input_image()[:, :, ::-1])

    return run


def _ours(place: Workshop) -> Runner:
    from pipeline import align, parse, portrait
    from pipeline.colour import SRGB, unit
    from pipeline.composite import Composite
    from pipeline.decode import read
    from pipeline.geometry import fit_similarity, output_size
    from pipeline.options import RestoreOptions
    from pipeline.portrait import Portrait
    from pipeline.render import quantised, render
    from pipeline.source import SourceImage

    del place
    sources: dict[str, SourceImage] = {}
    faces: dict[str, list[tuple[Any, ...]]] = {}
    for name, case in CASES.items():
        sources[name] = read(cv2.imencode(".png", np.ascontiguousarray(_picture(case)[:, :, ::-1]))[1].tobytes())
        faces[name] = []
        for landmarks in _landmarks(case):
            if (matrix := fit_similarity(landmarks)) is None:
                raise AssertionError("the template fits itself")
            crop = align.crop(sources[name].picture, matrix)
            faces[name].append((matrix, crop, unit(_restored(quantised(crop, 8)))))

    def run(case: str) -> Ran:
        source = sources[case]
        portraits = [
            Portrait(
                index=i,
                source_to_crop=matrix,
                crop=crop,
                toned=False,
                restored=after,
                mask=parse.soft_mask(_classes()),
            )
            for i, (matrix, crop, after) in enumerate(faces[case])
        ]
        before, size = (source.width, source.height), output_size(source.width, source.height, CASES[case].scale)
        pasted = portrait.placed(portraits, RestoreOptions(), source_size=before, size=size)
        canvas = Composite(source.picture, size, faces=pasted)
        return Ran(output=render(source, canvas, space=SRGB, depth=8, alpha=False).samples)

    return run


CONTESTS = (
    Contest(
        name="paste",
        sides=duel(upstream=_upstream, ours=_ours),
        cases=tuple(CASES),
        about_s=130,
        repeats=4,  # ours take a fifth of a second: one slow moment of the machine would be half of the median
        rows=(
            RowPlan(
                name="paste-24mp",
                cases=("paste-24mp",),
                promises=(at_least("ratio", 40), at_most("extra_mb", 100)),
                note="6000 x 4000 at scale 1, 8 faces of 500 px",
            ),
            RowPlan(
                name="paste-24mp-x2",
                cases=("paste-24mp-x2",),
                promises=(at_least("ratio", 24),),
                note="3000 x 2000 at scale 2, 8 faces of 800 px in the result",
            ),
        ),
    ),
)
