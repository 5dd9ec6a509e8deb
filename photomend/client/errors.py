"""Every error of the client on one page.

::

    PhotomendError
    ├── Unreachable        the service or the storage does not answer
    ├── ProblemError       the service refuses: status, code, title, detail, pointer
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

    def __init__(self, *, status: int, code: str, title: str, detail: str, pointer: str | None = None) -> None:
        super().__init__(f"{title}: {detail}")
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.pointer = pointer  #: JSON pointer to the offending member of the request


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
