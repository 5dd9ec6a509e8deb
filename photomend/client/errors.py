"""Every error of the client on one page.

::

    PhotomendError
    ├── Unreachable        the service or the storage does not answer
    ├── ProblemError       the service refuses: status, code, title, detail, pointer
    │   ├── InvalidRequest 400, 413, 415, 422: correct what pointer names
    │   ├── NotAllowed     401, 403: no valid key, or one that may not do this
    │   ├── NotFound       404: no such job, upload or part
    │   ├── WrongState     409, 410: not yet, or not any more
    │   ├── TooMany        429: come again after retry_after_s
    │   └── ServiceTrouble 5xx: theirs
    ├── UnsupportedFile    not a picture that the service reads
    ├── JobFailed          a job that was waited for ended without a result: job, code
    └── WaitTimeout        it has not ended in time
"""

from __future__ import annotations

from photomend.client.job import Job


class PhotomendError(Exception):
    """Raised when a call did not do what was asked; see the subclasses."""


class Unreachable(PhotomendError):
    """Raised when the service, or the storage it points to, does not answer."""


class ProblemError(PhotomendError):
    """Raised when the service refuses a request; ``code`` is stable, ``detail`` says what to do."""

    def __init__(
        self,
        *,
        status: int,
        code: str,
        title: str,
        detail: str,
        pointer: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{title}: {detail}")
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.retry_after_s = retry_after_s  #: where the service says when to come again
        self.pointer = pointer  #: JSON pointer to the offending member of the request


class InvalidRequest(ProblemError):
    """Raised when the request has to be corrected."""


class NotAllowed(ProblemError):
    """Raised when no valid key was shown, or one that may not do this."""


class NotFound(ProblemError):
    """Raised when there is no such job, upload or part."""


class WrongState(ProblemError):
    """Raised when a job's state does not allow this: not yet, or not any more."""


class TooMany(ProblemError):
    """Raised when there were too many calls, or too many unfinished jobs, also after the repeats."""


class ServiceTrouble(ProblemError):
    """Raised when the service is in trouble, also after the repeats."""


_BY_STATUS: dict[int, type[ProblemError]] = {
    400: InvalidRequest,
    401: NotAllowed,
    403: NotAllowed,
    404: NotFound,
    409: WrongState,
    410: WrongState,
    413: InvalidRequest,
    415: InvalidRequest,
    422: InvalidRequest,
    429: TooMany,
}


def error_for(status: int) -> type[ProblemError]:
    """Which problems of this status are raised as."""
    return _BY_STATUS.get(status, ServiceTrouble if status >= 500 else ProblemError)


class UnsupportedFile(PhotomendError):
    """Raised when a file is none of the kinds that the service reads, before it is sent."""


class JobFailed(PhotomendError):
    """Raised when a job that was waited for ended without a result."""

    def __init__(self, job: Job) -> None:
        error = job.error or {"code": f"job_{job.status}", "title": f"The job was {job.status}", "detail": ""}
        title, detail = f"{error['title'].rstrip('.')}.", error["detail"]
        # Many a detail begins with the title, or is the title.
        super().__init__(detail if detail.startswith(title) else f"{title} {detail}".rstrip())
        self.job = job
        self.code: str = error["code"]


class WaitTimeout(PhotomendError):
    """Raised when a job has not ended in the time that its caller had for it. It goes on."""
