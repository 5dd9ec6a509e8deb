"""The whole pipeline from picture to restoration, around small networks whose effect is known."""

from __future__ import annotations

import hashlib
import io

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from pipeline import geometry
from pipeline.arch import upsamplers
from pipeline.arch.networks import Network
from pipeline.errors import Cancelled, UnsupportedOption, WeightsMissing
from pipeline.options import RestoreOptions
from pipeline.picture import Drawn
from pipeline.resize import resize
from pipeline.restorer import Restorer
from pipeline.shelf import Shelf
from pipeline.tone import is_toned
from pipeline.types import Face, FaceStatus, Stage
from pipeline.weights import LOCAL_FILE, WeightStore
from tests.unit.pipeline.canvases import OfArrays
from tests.unit.pipeline.test_networks_at_work import Does, in_turn, picture, sepia

CPU = torch.device("cpu")
FACE_SIZE = 120


def a_face(x, y, size=FACE_SIZE, score=0.9):
    points = (geometry.FFHQ_TEMPLATE - 256) * size / 300 + [x + size / 2, y + size / 2]
    return Face(box=(x, y, x + size, y + size), landmarks=points.astype(np.float32), score=score)


@pytest.fixture
def weights(tmp_path):
    """A folder where every needed name has a (tiny, unused) file, and a real small upsampler."""
    module = upsamplers.build_srvgg(scale=4, features=4, convolutions=1)
    buffer = io.BytesIO()
    torch.save(module.state_dict(), buffer)
    rows = []
    for name, kind, architecture in [
        ("gfpgan-1.4", "restorer", "gfpgan-clean"),
        ("retinaface-mobilenet0.25", "detector", "retinaface-mobilenet0.25"),
        ("realesr-general-x4v3", "upsampler", "srvgg"),
        ("realesr-general-wdn-x4v3", "upsampler", "srvgg"),
    ]:
        (tmp_path / f"{name}.pth").write_bytes(buffer.getvalue())
        rows.append(
            f'[[local]]\nname = "{name}"\nfile = "{name}.pth"\nkind = "{kind}"\narchitecture = "{architecture}"\n'
            f'sha256 = "{hashlib.sha256(buffer.getvalue()).hexdigest()}"\n'
        )
    (tmp_path / LOCAL_FILE).write_text("\n".join(rows))
    return WeightStore(tmp_path)


@pytest.fixture
def faces(monkeypatch):
    """The faces that the detector will find; tests fill it."""
    found: list[Face] = []
    monkeypatch.setattr("pipeline.restorer.FaceDetector.__call__", lambda *_, **__: tuple(found))
    return found


def restorer(weights, what=lambda x: x * 0.8):
    shelf = Shelf(weights, CPU)
    shelf._networks["gfpgan-1.4"] = Network(module=Does(what), architecture="gfpgan-clean")
    return OfArrays(shelf)


def none(**more):
    return RestoreOptions(**({"background": "none", "scale": 1} | more))


def test_a_face_is_restored_in_place_and_nothing_else_changes(weights, faces):
    faces.append(a_face(60, 50))
    image = picture(240, 300)
    image.setflags(write=False)
    result = restorer(weights)(image, none())
    assert result.image.shape == image.shape
    assert result.changed[110, 120] == 1
    assert np.array_equal(result.image[result.changed == 0], image[result.changed == 0])
    # The network brings values to 80 % around mid-grey; the seam's colours are the source's, hence the loose bound.
    middle = (slice(90, 130), slice(100, 140))
    assert np.abs(result.image[middle] - (0.5 + (image[middle] - 0.5) * 0.8)).max() < 0.1
    assert [f.status for f in result.faces] == [FaceStatus.RESTORED]
    assert result.warnings == ()
    assert list(result.seconds) == list(Stage)[1:-1]
    assert result.model["name"] == "gfpgan-1.4"
    assert result.model["background"] == "none"


def test_the_same_picture_gives_the_same_pixels(weights, faces):
    faces += [a_face(10, 10), a_face(150, 60)]
    image, run = picture(240, 300), restorer(weights)
    assert np.array_equal(run(image, none(scale=1.5)).image, run(image, none(scale=1.5)).image)


@pytest.mark.parametrize("scale", [1, 1.5, 2, 4])
def test_strength_zero_is_the_plain_picture_exactly(weights, faces, scale):
    faces.append(a_face(60, 50))
    image = picture(200, 220)
    result = restorer(weights)(image, none(strength=0, scale=scale))
    size = geometry.output_size(220, 200, scale)
    assert np.array_equal(result.image, resize(image, *size))
    assert result.changed.max() == 0
    assert [(f.status, f.reason) for f in result.faces] == [(FaceStatus.SKIPPED, "strength is 0")]


def test_strength_is_monotone(weights, faces):
    faces.append(a_face(60, 50))
    image, run = picture(200, 220), restorer(weights)
    distance = [np.abs(run(image, none(strength=s)).image - image).sum() for s in (0, 0.3, 0.6, 1)]
    assert distance == sorted(distance)
    assert distance[1] > 0


def test_no_face_is_a_notice_and_the_picture_comes_back(weights, faces):
    image = picture(100, 120)
    result = restorer(weights)(image, none())
    assert np.array_equal(result.image, image)
    assert [n.code for n in result.warnings] == ["no_faces"]


def test_a_failed_face_keeps_its_pixels_and_is_told_of(weights, faces):
    faces += [a_face(10, 40), a_face(160, 40)]
    image = picture(200, 300)
    result = restorer(weights, in_turn(lambda x: x * float("nan"), lambda x: x * 0.8))(image, none(keep_crops=True))
    assert [f.status for f in result.faces] == [FaceStatus.FAILED, FaceStatus.RESTORED]
    assert "not finite" in result.faces[0].reason
    assert [n.code for n in result.warnings] == ["face_failed"]
    assert np.array_equal(result.image[:, :110], image[:, :110])
    assert [c.index for c in result.crops] == [1]


@pytest.mark.parametrize("background", ["none", "realesr-general-x4v3"])
def test_a_grey_picture_stays_exactly_grey(weights, faces, background):
    faces += [a_face(60, 50), a_face(-30, -20)]
    grey = np.repeat(picture(200, 220)[:, :, :1], 3, axis=2)
    colours = restorer(weights, lambda x: x * 0.8 + torch.tensor([0.1, -0.1, 0.05])[None, :, None, None])
    kept = colours(grey, none(background=background, keep_crops=True)).image
    assert np.array_equal(kept[:, :, 0], kept[:, :, 1])
    assert np.array_equal(kept[:, :, 0], kept[:, :, 2])
    allowed = colours(grey, none(background=background, gray="allow-color")).image
    assert np.abs(allowed[:, :, 0] - allowed[:, :, 1]).max() > 0.01


def test_a_sepia_picture_keeps_its_tone(weights, faces):
    faces.append(a_face(60, 50))
    image = sepia(picture(200, 220)[:, :, 0])
    result = restorer(weights, lambda x: x * 0.8 + torch.tensor([0.1, -0.1, 0.05])[None, :, None, None])(image, none())
    shift = result.image - image
    assert np.abs(shift).max() > 0.02
    assert np.abs(shift - shift[:, :, :1]).max() < 1e-6


def test_a_colour_target_beside_a_sepia_print_colours_no_face(weights, faces):
    """Archives scan with a strip of colours; it makes the picture a coloured one, but not the face."""
    faces.append(a_face(60, 50))
    image = sepia(picture(200, 420)[:, :, 0])
    image[:, 340:] = picture(200, 80, 5)
    assert not is_toned(image)
    result = restorer(weights, lambda x: x * 0.8 + torch.tensor([0.1, -0.1, 0.05])[None, :, None, None])(image, none())
    shift = result.image - image
    assert np.abs(shift).max() > 0.02
    assert np.abs(shift - shift[:, :, :1]).max() < 1e-6


def test_an_aligned_input_is_restored_whole(weights, faces):
    image = picture(300, 300)
    result = restorer(weights)(image, none(aligned=True, scale=2))
    assert result.image.shape == (600, 600, 3)
    assert result.changed.min() == 1
    expected = cv2.GaussianBlur(resize(0.5 + (image - 0.5) * 0.8, 600, 600), (0, 0), 4)
    assert np.abs(cv2.GaussianBlur(result.image, (0, 0), 4) - expected).max() < 0.02
    assert len(result.faces) == 1
    with pytest.raises(UnsupportedOption, match="square"):
        restorer(weights)(picture(300, 200), none(aligned=True))


def test_the_background_is_enlarged_by_its_network(weights, faces):
    image = picture(60, 70)
    result = restorer(weights)(image, none(background="realesr-general-x4v3", scale=2, tile_px=32 * 4, denoise=1))
    assert result.image.shape == (120, 140, 3)
    assert result.model["background"] == "realesr-general-x4v3"
    assert result.model["tile_px"] == 128
    assert not np.array_equal(result.image, resize(image, 140, 120))
    assert np.abs(result.image - resize(image, 140, 120)).mean() < 0.2


def test_denoise_mixes_the_twins(weights, faces):
    """Both files are the same here, so every mix must be that network; a wrong sum would not be."""
    image, run = picture(40, 50), restorer(weights)
    pictures = [run(image, none(background="realesr-general-x4v3", denoise=d)).image for d in (0.2, 1)]
    assert np.abs(pictures[0] - pictures[1]).max() < 1e-4


def test_progress_tells_every_step_and_cancelling_stops_between_them(weights, faces):
    faces.append(a_face(60, 50))
    told = []

    def follow(stage, fraction):
        told.append((stage, fraction))

    restorer(weights)(picture(200, 220), none(), on_progress=follow)
    assert [s for s, f in told if f == 0] == list(Stage)[1:-1]
    assert all(0 <= f <= 1 for _, f in told)

    def stop(stage, _fraction):
        if stage is Stage.RESTORE:
            raise Cancelled("enough")

    run = restorer(weights)
    with pytest.raises(Cancelled):
        run(picture(200, 220), none(), on_progress=stop)
    assert run._shelf.get("gfpgan-1.4").module.calls == []


def test_networks_run_through_compute_and_nowhere_else(weights, faces):
    faces.append(a_face(60, 50))
    inside = []
    stages = []

    def lane(work, *, stage, megapixels):
        assert megapixels >= 0
        stages.append(stage)
        inside.append(True)
        try:
            return work()
        finally:
            inside.pop()

    def only_inside(x):
        assert inside
        return x * 0.8

    restorer(weights, only_inside)(picture(100, 110), none(background="realesr-general-x4v3"), compute=lane)
    assert stages[0] is Stage.RESTORE
    assert Stage.UPSAMPLE in stages


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"model": "gfpgan-1.3"}, WeightsMissing, "photomend models fetch gfpgan-1.3"),
        ({"model": "gfpgan-1"}, WeightsMissing, "models fetch gfpgan-1 --trust-first-use"),
        ({"model": "restoreformer"}, WeightsMissing, "models fetch restoreformer"),
        ({"model": "codeformer"}, UnsupportedOption, "this version has no codeformer network"),
        ({"model": "preview"}, WeightsMissing, "PHOTOMEND_ALLOW_PREVIEW"),
        ({"model": "stable-diffusion"}, UnsupportedOption, "unknown"),
        ({"background": "realesrgan-x4plus"}, WeightsMissing, "models fetch realesrgan-x4plus"),
        ({"background": "preview-x2"}, UnsupportedOption, "preview-x2"),
        ({"background": "gfpgan-1.4"}, UnsupportedOption, "unknown"),
        ({"denoise": 0.2}, UnsupportedOption, "realesr-general-x4v3 only"),
        ({"denoise": 0.2, "background": "none"}, UnsupportedOption, "realesr-general-x4v3 only"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_before_any_work(weights, options, error, sentence):
    with pytest.raises(error, match=sentence):
        restorer(weights).require(RestoreOptions(**options))


def test_auto_background_on_a_cpu_is_lanczos(weights, faces):
    image = picture(60, 70)
    result = restorer(weights)(image, RestoreOptions())
    assert result.model["background"] == "none"
    assert np.array_equal(result.image, resize(image, 140, 120))


def test_an_unnamed_model_falls_back_to_the_preview_only_where_allowed(tmp_path):
    with pytest.raises(WeightsMissing, match=r"fetch gfpgan-1\.4"):
        Restorer.load(WeightStore(tmp_path), device="cpu").require(RestoreOptions())
    allowed = Shelf(WeightStore(tmp_path, allow_preview=True), CPU)
    choice = allowed.choose(RestoreOptions())
    assert choice.restorer == "preview"
    assert choice.detector == "preview-detector"
    assert [n.code for n in choice.notices] == ["preview_weights"]
    with pytest.raises(WeightsMissing, match=r"fetch gfpgan-1\.4"):
        allowed.choose(RestoreOptions(model="gfpgan-1.4"))
    with pytest.raises(UnsupportedOption, match="seed"):
        allowed.choose(RestoreOptions(seed=3))


def test_without_a_detector_it_says_which_to_fetch(weights, tmp_path):
    (tmp_path / "retinaface-mobilenet0.25.pth").unlink()
    with pytest.raises(WeightsMissing, match="models fetch retinaface-resnet50"):
        restorer(weights).require(RestoreOptions())
    restorer(weights).require(RestoreOptions(aligned=True))


def test_a_face_is_told_with_its_yaw_its_seconds_and_why_to_look_at_it(weights, faces):
    faces += [a_face(10, 60), a_face(150, 60, 30), a_face(200, 10, 60, score=0.4)]
    large, tiny, no_face = restorer(weights)(picture(240, 300), none()).faces
    assert (large.yaw_deg, large.review, large.identity) == (0.0, (), None)
    assert large.seconds > 0
    assert [flag.code for flag in tiny.review] == ["tiny"]
    assert (no_face.review, no_face.seconds) == ((), None)


def test_faces_are_compared_with_their_originals_where_the_recogniser_is_installed(weights, faces, tmp_path):
    """The vector is the face's mean colour here, so a face that becomes its negative is somebody else."""

    class MeanColour(nn.Module):
        def forward(self, x):
            return nn.functional.normalize(x.mean(dim=(2, 3)), dim=1)

    (tmp_path / "arcface.pth").write_bytes((tmp_path / "gfpgan-1.4.pth").read_bytes())
    row = (tmp_path / LOCAL_FILE).read_text().split("\n\n")[0]
    row = row.replace("gfpgan-1.4", "arcface").replace('"restorer"', '"recogniser"').replace("gfpgan-clean", "arcface")
    (tmp_path / LOCAL_FILE).write_text((tmp_path / LOCAL_FILE).read_text() + "\n" + row)
    faces += [a_face(10, 60), a_face(160, 60)]
    run = restorer(WeightStore(tmp_path), in_turn(lambda x: x * 0.8, lambda x: -x * 0.3))
    run._shelf._networks["arcface"] = Network(module=MeanColour(), architecture="arcface")
    image = 0.25 + 0.25 * picture(240, 320)
    told = run(image, none(gray="allow-color"))
    alike, other = told.faces
    assert alike.identity > 0.99
    assert other.identity < 0
    assert [flag.code for flag in other.review] == ["identity"]
    assert told.model["recogniser"]["name"] == "arcface"
    assert run(image, none(strength=0)).faces[0].identity is None


def test_a_detection_needs_the_detector_alone_and_tells_what_would_become_of_each_face(weights, faces, tmp_path):
    (tmp_path / "gfpgan-1.4.pth").unlink()
    faces += [a_face(60, 50), a_face(160, 50, score=0.4)]
    run, image = restorer(weights), Drawn(picture(240, 300))
    run.require_detector()
    told = []
    detection = run.find(image, RestoreOptions(), on_progress=lambda stage, _: told.append(stage))
    assert [(f.status, f.reason) for f in detection.faces] == [
        (FaceStatus.FOUND, None),
        (FaceStatus.REJECTED, "score 0.40 is below 0.5"),
    ]
    assert set(told) == set(detection.seconds) == {Stage.DETECT}
    assert detection.model["name"] == "retinaface-mobilenet0.25"
    assert detection.warnings == ()
    chosen = run.find(image, RestoreOptions(faces=(detection.faces[0].id,)))
    assert [f.id for f in chosen.faces] == [f.id for f in detection.faces]


def test_a_detection_says_when_it_had_to_use_the_preview_detector(tmp_path, faces):
    run = Restorer.load(WeightStore(tmp_path, allow_preview=True), device="cpu")
    assert [n.code for n in run.find(Drawn(picture(60, 80)), RestoreOptions()).warnings] == [
        "preview_weights",
        "no_faces",
    ]
    with pytest.raises(WeightsMissing, match="models fetch retinaface-resnet50"):
        Restorer.load(WeightStore(tmp_path), device="cpu").require_detector()


def test_available_lists_what_is_here_with_its_hash(weights):
    names = {m["name"]: m for m in restorer(weights).available()}
    assert set(names) == {
        "gfpgan-1.4", "retinaface-mobilenet0.25", "realesr-general-x4v3", "realesr-general-wdn-x4v3"
    }  # fmt: skip
    assert all(len(m["sha256"]) == 64 for m in names.values())


def test_an_unknown_device_is_refused(weights):
    for name in ("cuda", "toaster"):
        if name == "cuda" and torch.cuda.is_available():
            continue
        with pytest.raises(UnsupportedOption):
            Restorer.load(weights, device=name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["chelsea", "coffee", "rocket"])
def test_the_preview_pack_leaves_face_free_pictures_alone(tmp_path, name):
    data = pytest.importorskip("skimage.data")
    image = (getattr(data, name)()[:, :, :3] / np.float32(255)).astype(np.float32)
    result = OfArrays.load(WeightStore(tmp_path, allow_preview=True), device="cpu")(image, none())
    restored = [f for f in result.faces if f.status is FaceStatus.RESTORED]
    assert restored == []
    assert np.array_equal(result.image, image)


def test_a_seed_reaches_the_noise(weights):
    class Noisy(nn.Module):
        size = 8

        def forward(self, x, noise=None):
            return x * 0.9 + (0 if noise is None else noise[0].mean() * 0.05)

    shelf = Shelf(weights, CPU)
    shelf._networks["gfpgan-1.4"] = Network(module=Noisy(), architecture="gfpgan-clean", has_noise=True)
    image, run = picture(64, 64), OfArrays(shelf)
    first, again, other = (run(image, none(aligned=True, seed=s)).image for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
