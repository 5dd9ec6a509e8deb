"""What a stranger sees of a job, in each state."""

from __future__ import annotations

import json

from jobs.kinds import Kind, options_for
from jobs.model import Progress
from jobs.states import JobState
from jobs.view import public_view, timestamp
from tests import samples

WORDS = {
    "id", "kind", "status", "created_at", "started_at", "completed_at", "input", "options", "output", "faces",
    "warnings", "error", "progress", "metrics", "model", "urls", "metadata", "replay_of", "priority", "attempt",
    "cancel_requested", "review", "reviews", "batch",
}  # fmt: skip


def test_every_state_says_the_same_words_in_json() -> None:
    for state in JobState:
        view = public_view(samples.job(state=state, result=samples.result(), failure=samples.FAILURE))
        assert set(view) == WORDS
        assert json.loads(json.dumps(view)) == view


def test_nothing_internal_is_shown() -> None:
    job = samples.job(worker="host-7:pid-3", epoch=4, lease_until=99.0, callback=samples.CALLBACK)
    text = json.dumps(public_view(job))
    assert not any(secret in text for secret in ("host-7", "lease", "epoch", "tenant", samples.CALLBACK.url))


def test_a_finished_job_shows_where_its_parts_are() -> None:
    job = samples.job(state=JobState.SUCCEEDED, result=samples.result())
    view = public_view(job, base_url="https://api.example.com")
    path = f"https://api.example.com/v1/jobs/{job.id}"
    assert view["urls"] == {
        "self": path,
        "cancel": f"{path}/cancel",
        "result": f"{path}/result",
        "events": f"{path}/events",
    }
    assert view["output"]["parts"][0]["url"] == f"{path}/result?part=image"
    assert "key" not in json.dumps(view["output"]), "keys of our own bucket are ours"


def test_an_expired_job_keeps_its_story_but_offers_no_result() -> None:
    view = public_view(samples.job(state=JobState.EXPIRED, result=samples.result(), failure=samples.FAILURE))
    assert (view["output"], view["urls"]["result"], view["faces"]) == (None, None, [])
    assert view["error"]["code"] == "image_truncated"


def test_a_job_that_only_finds_faces_shows_the_options_that_mean_something_to_it() -> None:
    view = public_view(samples.job(kind=Kind.DETECT, options=options_for(Kind.DETECT, {"min_score": 0.6})))
    assert view["kind"] == "detect"
    assert view["options"]["min_score"] == 0.6
    assert "scale" not in view["options"]


def test_progress_and_waiting_are_shown() -> None:
    view = public_view(samples.job(created_at=5.0, started_at=7.25, progress=Progress(stage="detect", percent=9)))
    assert view["progress"] == {"stage": "detect", "percent": 9}
    assert view["metrics"] == {"queue_s": 2.25}
    assert view["created_at"] == "1970-01-01T00:00:05.000Z"
    assert timestamp(None) is None
