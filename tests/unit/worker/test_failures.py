"""Every error has its verdict; strangers never read paths, hosts or keys."""

from __future__ import annotations

import pytest

from jobs import errors as jobs_errors
from jobs.model import Failure
from pipeline import errors as pipeline_errors
from worker.failures import TRIES_ELSEWHERE, Fail, Release, classify

SECRET = "/srv/weights at redis.internal:6379 for s3://bucket/key"


def leaves(root: type[Exception]) -> list[type[Exception]]:
    """The class and all below it."""
    return [root, *(leaf for child in root.__subclasses__() for leaf in leaves(child))]


#: Cancelled is no error of the picture: the lease says why it was raised.
PICTURE_ERRORS = sorted(
    {e for e in leaves(pipeline_errors.PipelineError) if e.__module__ == "pipeline.errors"}
    - {pipeline_errors.Cancelled},
    key=lambda e: e.__name__,
)
OBJECT_ERRORS = [e for e in leaves(jobs_errors.ObjectError) if e.__module__ == "jobs.errors"]


@pytest.mark.parametrize("error", PICTURE_ERRORS)
def test_what_is_wrong_with_a_picture_fails_the_job_with_the_errors_own_code(error: type[Exception]) -> None:
    verdict = classify(error(SECRET), attempt=TRIES_ELSEWHERE)
    assert isinstance(verdict, Fail)
    assert verdict.failure.code == error.code  # type: ignore[attr-defined]
    assert verdict.failure.title == error.public  # type: ignore[attr-defined]
    assert verdict.failure.detail


@pytest.mark.parametrize("error", OBJECT_ERRORS)
def test_what_is_wrong_with_an_object_fails_the_job_unless_trying_again_may_help(error: type[Exception]) -> None:
    verdict = classify(error(SECRET), attempt=1)
    if error.retryable:  # type: ignore[attr-defined]
        assert verdict == Release(charge=False, pause=True)
    else:
        assert isinstance(verdict, Fail)
        assert verdict.failure.code == error.code  # type: ignore[attr-defined]


#: Their words name values and limits only.
SPEAKABLE = {
    pipeline_errors.UnsupportedOption,
    pipeline_errors.UnsupportedImage,
    pipeline_errors.ImageTooLarge,
    pipeline_errors.FaceNotFound,
}
SILENT = [e for e in (*PICTURE_ERRORS, *OBJECT_ERRORS, RuntimeError, jobs_errors.JobsError) if e not in SPEAKABLE]


@pytest.mark.parametrize("error", SILENT)
def test_operators_words_do_not_reach_strangers(error: type[Exception]) -> None:
    verdict = classify(error(SECRET), attempt=TRIES_ELSEWHERE)
    if isinstance(verdict, Fail):
        assert "redis" not in verdict.failure.detail + verdict.failure.title
        assert "/srv" not in verdict.failure.detail + verdict.failure.title


def test_redis_in_trouble_sends_the_job_back_uncharged() -> None:
    assert classify(jobs_errors.StoreUnavailable("x"), attempt=9) == Release(charge=False, pause=True)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        pipeline_errors.OutOfMemory("tile 64"),
        pipeline_errors.ScratchFull("9 GB"),
        pipeline_errors.WeightsCorrupt("hash"),
    ],
)
def test_what_may_be_this_workers_own_fault_is_tried_elsewhere_a_few_times(error: Exception) -> None:
    assert classify(error, attempt=1) == Release(charge=True, pause=False)
    assert classify(error, attempt=TRIES_ELSEWHERE - 1) == Release(charge=True, pause=False)
    assert isinstance(classify(error, attempt=TRIES_ELSEWHERE), Fail)


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), KeyError("y"), SystemExit(1), jobs_errors.JobNotFound("z")])
def test_our_own_bugs_fail_the_job_as_internal(error: BaseException) -> None:
    verdict = classify(error, attempt=1)
    assert isinstance(verdict, Fail)
    assert verdict.failure.code == "internal"
    assert type(error).__name__ in verdict.failure.detail


def test_an_option_that_cannot_be_honoured_is_named() -> None:
    verdict = classify(pipeline_errors.UnsupportedOption("bit_depth 16 is not possible in jpeg"), attempt=1)
    assert verdict == Fail(
        failure=Failure(
            code="unsupported_option",
            title=pipeline_errors.UnsupportedOption.public,
            detail="bit_depth 16 is not possible in jpeg",
        )
    )


def test_missing_weights_come_with_the_command_and_without_the_folder() -> None:
    verdict = classify(pipeline_errors.WeightsMissing("no x in /srv/w: `photomend models fetch gfpgan-1.3`"), attempt=1)
    assert isinstance(verdict, Fail)
    assert "`photomend models fetch gfpgan-1.3`" in verdict.failure.detail
    assert "/srv" not in verdict.failure.detail
