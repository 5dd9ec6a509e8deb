"""Which candidates are faces, and which faces are wanted; every one left out has its reason. Pure.

Detectors fire on ears, eyes and patterns, and a restorer paints a face over whatever it is given.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline import choice, pose, review
from pipeline.choice import Box, area
from pipeline.geometry import fit_similarity, scale_of
from pipeline.options import RestoreOptions
from pipeline.types import Affine, Face, FaceRecord, FaceStatus, Notice

#: Eyes closer than this (source px) show no face that could be restored. Source: GFPGANer's eye_dist_threshold.
MIN_EYE_DISTANCE_PX = 5.0

#: Eyes closer than this part of the box's width: a profile, whose far eye the detector guesses. A frontal template does
#: not fit it, and Real-ESRGAN's author says that side faces are not supported.
MIN_EYE_DISTANCE_PART = 0.14

#: How sure the detector must be of a face that stands another way up than most (with ``rotate``): patterns look like a
#: face in one of four turns more often than in one. Measured with RetinaFace mobile0.25 on the development photos:
#: false faces in turned copies score up to 0.89, the surest real face of each photo 0.995 and more.
SURE_SCORE = 0.95

#: A box more drawn out than this is no face.
MAX_ASPECT = 2.5

#: Landmarks may lie this far outside their box, as part of its size.
LANDMARK_MARGIN = 0.2

#: Eyes and mouth closer than this part of the box's size lie in one place or line: a pattern. Of a face, a third to a
#: half; one that looks straight down would be as flat, and no template fits it.
MIN_FEATURES_PART = 0.1

#: The mouth's corners may lie the other way round than the eyes by this part of the way from eyes to mouth, as the
#: guessed far sides of a profile do.
CROSSED_PART = 0.1

#: A box inside another (this much of it) that is much smaller (below this part of its area) is a part of that face.
NESTED_INSIDE = 0.7
NESTED_AREA = 0.4

#: The outer box of a nested pair stays when its score is at least this part of the inner's.
NESTED_SCORE = 0.8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidate:
    """A detection with what became of it; without a status it is to be restored."""

    face: Face
    id: str = ""  #: set by ``select``
    is_chosen: bool = False  #: by its id or a box
    source_to_crop: Affine | None = None
    status: FaceStatus | None = None
    reason: str | None = None

    def record(self, index: int, *, status: FaceStatus | None = None, reason: str | None = None) -> FaceRecord:
        """What the caller is told before the face is restored."""
        yaw_deg = pose.yaw_deg(self.face.landmarks)
        enlarged = None if self.source_to_crop is None else scale_of(self.source_to_crop)
        is_no_face = self.status is FaceStatus.REJECTED
        return FaceRecord(
            id=self.id,
            index=index,
            box=self.face.box,
            landmarks=tuple((float(x), float(y)) for x, y in self.face.landmarks),
            score=self.face.score,
            size_px=self.face.size_px,
            status=status or self.status or FaceStatus.RESTORED,
            reason=reason or self.reason,
            yaw_deg=yaw_deg,
            review=() if is_no_face else review.of_place(yaw_deg=yaw_deg, enlarged=enlarged),
        )


def select(faces: Sequence[Face], options: RestoreOptions, *, width: int, height: int) -> tuple[Candidate, ...]:
    """Every candidate with its fate, from left to right; ``width`` and ``height`` are the picture's.

    Raises:
        FaceNotFound: ``faces`` names one that is not there.
    """
    candidates = [_judged(face, options) for face in faces]
    if options.rotate:
        candidates = _without_strays(candidates)
    candidates = _without_nested(candidates)
    return select_from(candidates, options, width=width, height=height)


def select_from(
    candidates: Sequence[Candidate], options: RestoreOptions, *, width: int, height: int
) -> tuple[Candidate, ...]:
    """``select`` where it is known already which candidates are faces.

    Raises:
        FaceNotFound: ``faces`` names one that is not there.
    """
    named = [dataclasses.replace(c, id=choice.face_id(c.face.box, width=width, height=height)) for c in candidates]
    candidates = _chosen(_within_limits(named, options), options, width=width, height=height)
    return tuple(sorted(candidates, key=lambda c: (round(c.face.box[0]), round(c.face.box[1]), -c.face.score)))


def _judged(face: Face, options: RestoreOptions) -> Candidate:
    """The face with the reason why it is none, or with its alignment."""
    if face.score < options.min_score:
        return _rejected(face, f"score {face.score:.2f} is below {options.min_score:g}")
    fault = _shape_fault(face)
    if fault:
        return _rejected(face, fault)
    matrix = fit_similarity(face.landmarks)
    if matrix is None:
        return _rejected(face, "no alignment fits its landmarks")
    return Candidate(face=face, source_to_crop=matrix)


def _rejected(face: Face, reason: str) -> Candidate:
    return Candidate(face=face, status=FaceStatus.REJECTED, reason=reason)


def _shape_fault(face: Face) -> str | None:
    x0, y0, x1, y1 = face.box
    width, height = x1 - x0, y1 - y0
    points = face.landmarks.astype(np.float64)
    if not np.isfinite([*face.box, *points.ravel()]).all() or width < 1 or height < 1:
        return "its box or landmarks are no numbers or empty"
    if max(width / height, height / width) > MAX_ASPECT:
        return f"its box is {width:.0f} x {height:.0f}, too drawn out for a face"
    margin = np.array([width, height]) * LANDMARK_MARGIN
    if (points < np.array([x0, y0]) - margin).any() or (points > np.array([x1, y1]) + margin).any():
        return "its landmarks lie outside its box"
    return _landmark_fault(points, size_px=face.size_px)


def _landmark_fault(points: np.ndarray, *, size_px: float) -> str | None:
    """What five landmarks of a face, however turned in the plane, cannot be."""
    left_eye, right_eye, nose, left_mouth, right_mouth = points
    eyes, mouth = (left_eye + right_eye) / 2, (left_mouth + right_mouth) / 2
    down, along = mouth - eyes, right_eye - left_eye
    length = float(np.hypot(*down))
    if length < MIN_FEATURES_PART * size_px:
        return "its eyes and mouth lie in one place or line"
    # From the line of the eyes to the way down is a clockwise turn on the screen, however the head is tilted.
    if along[0] * down[1] - along[1] * down[0] <= 0:
        return "its eyes and mouth lie the wrong way round"
    right = np.array([down[1], -down[0]]) / length
    if (right_mouth - left_mouth) @ right < -CROSSED_PART * length:
        return "its mouth lies the other way round than its eyes"
    position = float((nose - eyes) @ down) / length**2
    return None if -0.2 < position < 1.3 else "its nose is not between eyes and mouth"


def _quarter_turns(face: Face) -> int:
    """How often the face is turned clockwise by 90 degrees, to the nearest: 0 = upright, 2 = upside down."""
    along = face.landmarks[1] - face.landmarks[0]
    return round(float(np.arctan2(along[1], along[0])) / (np.pi / 2)) % 4


def _without_strays(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Doubtful candidates that do not stand as most faces do, counted by their scores, are rejected."""
    believed = [0.0] * 4
    for c in candidates:
        if not c.status:
            believed[_quarter_turns(c.face)] += c.face.score
    usual = believed.index(max(believed))
    return [
        _rejected(c.face, f"it stands another way up than most, and its score {c.face.score:.2f} is below {SURE_SCORE}")
        if not c.status and c.face.score < SURE_SCORE and _quarter_turns(c.face) != usual
        else c
        for c in candidates
    ]


def _without_nested(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Candidates inside a much larger one are rejected, or the larger one where that is far less certain."""
    result = list(candidates)
    for i, inner in enumerate(candidates):
        for j, outer in enumerate(candidates):
            if i == j or result[i].status or result[j].status or not _is_nested(inner.face, outer.face):
                continue
            outer_stays = outer.face.score >= NESTED_SCORE * inner.face.score
            loser, winner = (i, outer) if outer_stays else (j, inner)
            box = ", ".join(f"{v:.0f}" for v in winner.face.box)
            word = "inside" if outer_stays else "around"
            result[loser] = _rejected(result[loser].face, f"it lies {word} the face at {box}")
    return result


def _is_nested(inner: Face, outer: Face) -> bool:
    inside = choice.shared(inner.box, outer.box)
    return inside > NESTED_INSIDE * area(inner.box) and area(inner.box) < NESTED_AREA * area(outer.box)


def _within_limits(candidates: Sequence[Candidate], options: RestoreOptions) -> list[Candidate]:
    return [c if c.status else _limited(c, options) for c in candidates]


def _limited(candidate: Candidate, options: RestoreOptions) -> Candidate:
    face = candidate.face
    eye_px = float(np.linalg.norm(face.landmarks[1] - face.landmarks[0]))
    if eye_px < MIN_EYE_DISTANCE_PX:
        return _skipped(candidate, f"its eyes are {eye_px:.1f} px apart; {MIN_EYE_DISTANCE_PX:g} are needed")
    x0, y0, x1, y1 = face.box
    if eye_px < MIN_EYE_DISTANCE_PART * (y1 - y0 if _quarter_turns(face) % 2 else x1 - x0):
        return _skipped(candidate, "it is turned too far to the side")
    if face.size_px < options.min_face_px:
        return _skipped(candidate, f"its {face.size_px:.0f} px are below min_face_px {options.min_face_px}")
    if options.max_face_px is not None and face.size_px > options.max_face_px:
        return _skipped(candidate, f"its {face.size_px:.0f} px are above max_face_px {options.max_face_px}")
    return candidate


def _skipped(candidate: Candidate, reason: str) -> Candidate:
    return dataclasses.replace(candidate, status=FaceStatus.SKIPPED, reason=reason)


def _chosen(candidates: Sequence[Candidate], options: RestoreOptions, *, width: int, height: int) -> list[Candidate]:
    """Only the faces that ``faces`` and ``max_faces`` ask for stay wanted."""

    def visible_area(candidate: Candidate) -> float:
        x0, y0, x1, y1 = candidate.face.box
        return area((max(0.0, x0), max(0.0, y0), min(float(width), x1), min(float(height), y1)))

    def distance_from_centre(candidate: Candidate) -> float:
        x0, y0, x1, y1 = candidate.face.box
        return float(np.hypot((x0 + x1 - width) / 2, (y0 + y1 - height) / 2))

    result = list(candidates)
    if not isinstance(options.faces, str):
        result = _named_only(result, options.faces, width=width, height=height)
    elif options.faces == "center":
        result = _best_only(result, 1, key=distance_from_centre, reason="another face is closer to the centre")
    elif options.faces == "largest":
        result = _best_only(result, 1, key=lambda c: -visible_area(c), reason="another face is larger")
    if options.max_faces is not None:
        reason = f"{options.max_faces} larger faces were restored (max_faces)"
        result = _best_only(result, options.max_faces, key=lambda c: -visible_area(c), reason=reason)
    return result


def _named_only(
    candidates: Sequence[Candidate], names: Sequence[str | Box], *, width: int, height: int
) -> list[Candidate]:
    found = {name: _meant(name, candidates, width=width, height=height) for name in names}
    missing = [name for name, candidate in found.items() if candidate is None]
    if missing:
        raise choice.not_found(missing, [c.id for c in candidates if c.status is not FaceStatus.REJECTED])
    chosen = {id(candidate) for candidate in found.values()}
    return [_named(c, is_chosen=id(c) in chosen) for c in candidates]


def _meant(name: str | Box, candidates: Sequence[Candidate], *, width: int, height: int) -> Candidate | None:
    exactly = next((c for c in candidates if c.id == name), None)
    if exactly is not None:
        return exactly
    box = choice.box_of(name, width=width, height=height) if isinstance(name, str) else name
    # A box around a face and a false candidate means the face; one around a false candidate alone is told of that.
    faces = [c for c in candidates if c.status is not FaceStatus.REJECTED]
    for among in (faces, candidates):
        best = choice.best_match(box, [c.face.box for c in among])
        if best is not None:
            return among[best]
    return None


def _named(candidate: Candidate, *, is_chosen: bool) -> Candidate:
    if is_chosen:
        return dataclasses.replace(candidate, is_chosen=True)
    return candidate if candidate.status else _skipped(candidate, "it was not chosen (faces)")


def notices(candidates: Sequence[Candidate]) -> tuple[Notice, ...]:
    """What the caller should know of faces that were chosen by name and are left as they are all the same."""
    return tuple(
        Notice(code="chosen_face_skipped", detail=f"face {c.id} was chosen, but {c.reason}")
        for c in candidates
        if c.is_chosen and c.status
    )


def _best_only(
    candidates: Sequence[Candidate], count: int, *, key: Callable[[Candidate], float], reason: str
) -> list[Candidate]:
    wanted = sorted((c for c in candidates if not c.status), key=key)[:count]
    kept = {id(c) for c in wanted}
    return [c if c.status or id(c) in kept else _skipped(c, reason) for c in candidates]


def found(candidates: Sequence[Candidate]) -> tuple[FaceRecord, ...]:
    """What would become of every candidate."""
    return tuple(c.record(index, status=c.status or FaceStatus.FOUND) for index, c in enumerate(candidates))
