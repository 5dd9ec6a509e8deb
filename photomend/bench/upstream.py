"""The ``gfpgan`` package's own pipeline, ``GFPGANer.enhance``, on the same seeded networks. For benchmarks only."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from photomend.bench import seeded
from photomend.bench.contest import Ran, Workshop
from pipeline.compat import foreign
from pipeline.weights import WeightStore


class Upstream:
    """Restores files as upstream's ``inference_gfpgan.py`` does: read, enhance, write."""

    def __init__(self, place: Workshop) -> None:
        self._store = WeightStore(place.seeded, allow_preview=True)
        self._enhancer = self._built(place)
        self._stages: dict[str, float] = {}
        self._faces: np.ndarray[Any, Any] = np.empty((0, 15), np.float32)
        helper = self._enhancer.face_helper
        # Its detector has done its work, and found nothing: the places of the faces are those that ours works with.
        detect = helper.face_det.detect_faces
        helper.face_det.detect_faces = lambda *args, **words: (detect(*args, **words), self._faces)[1]
        for owner, name, stage in (
            (helper, "get_face_landmarks_5", "detect"),
            (helper, "align_warp_face", "align"),
            (self._enhancer.gfpgan, "forward", "restore"),
            (helper.face_parse, "forward", "parse"),
            (helper, "paste_faces_to_input_image", "paste"),
        ):
            self._time(owner, name, stage)

    def __call__(self, source: Path, faces: Path | None, *, scale: float, aligned: bool = False) -> Ran:
        """One file, from its bytes to the result's; ``faces``: where they are, by ``ours.write_faces``."""
        self._stages = {}
        if faces is not None:
            self._faces = np.asarray(json.loads(faces.read_text()), np.float32).reshape(-1, 15)
        self._enhancer.upscale = self._enhancer.face_helper.upscale_factor = scale
        with self._timed("decode"):
            image = cv2.imdecode(np.frombuffer(source.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
        _, restored, whole = self._enhancer.enhance(image, has_aligned=aligned, paste_back=True)
        result = restored[0] if aligned else whole
        # With background "none" a size other than its own is given to the picture by its paste.
        with self._timed("encode"):
            cv2.imencode(source.suffix, result, [cv2.IMWRITE_JPEG_QUALITY, 95])
        self._stages["paste"] = self._stages.get("paste", 0.0) - self._stages.get("parse", 0.0)
        return Ran(output=np.asarray(result[:, :, ::-1], np.uint8), stages=self._stages)

    def _built(self, place: Workshop) -> Any:
        with foreign():
            from facexlib.detection.retinaface import RetinaFace
            from facexlib.parsing.parsenet import ParseNet
            from facexlib.utils import face_restoration_helper as upstream
            from gfpgan.utils import GFPGANer

            detector = RetinaFace(network_name="resnet50", half=False, device="cpu")
            parser = ParseNet(in_size=512, out_size=512, parsing_ch=19)
            for network, name in ((detector, seeded.DETECTOR), (parser, seeded.PARSER)):
                network.load_state_dict(self._store.load(name), strict=True)
                network.eval()
            # Its constructors download; these are handed what they would have loaded.
            upstream.init_detection_model = lambda *_, **__: detector
            upstream.init_parsing_model = lambda *_, **__: parser
            return GFPGANer(model_path=str(self._store.path(seeded.RESTORER)), upscale=2, device="cpu")

    def _time(self, owner: Any, name: str, stage: str) -> None:
        call = getattr(owner, name)

        def timed(*args: Any, **words: Any) -> Any:
            with self._timed(stage):
                return call(*args, **words)

        setattr(owner, name, timed)

    @contextlib.contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self._stages[stage] = self._stages.get(stage, 0.0) + time.perf_counter() - began


def main() -> None:
    """Restore one aligned face, as a process that does nothing else: ``python -m photomend.bench.upstream``."""
    folder, source = (Path(word) for word in sys.argv[1:])
    ran = Upstream(Workshop(folder=folder))(source, None, scale=1.0, aligned=True)
    cv2.imwrite(str(folder / "cold-upstream.jpg"), np.asarray(ran.output, np.uint8))


if __name__ == "__main__":
    main()
