"""Every error of the job contract on one page.

::

    JobsError
    ├── InvalidRequest         the caller's words are wrong
    │   ├── InvalidOption
    │   ├── CallbackRefused
    │   └── InputRefused
    ├── JobNotFound
    ├── TenantNotFound
    ├── KeyNotFound            no such API key
    ├── TooManyKeys
    ├── IllegalMove            the record refuses the transition
    │   └── Fenced             a newer attempt owns the job
    ├── IdempotencyMismatch    same key, other payload
    ├── QuotaExceeded
    │   └── Overloaded         all tenants together have too many
    ├── DeadlineExceeded       nobody wants the result any more
    ├── TooManyInterruptions   its workers died or were taken away again and again
    ├── Poison                 its process died by its own fault each time it ran alone
    ├── SpecForged             its record is not ours
    ├── StoreUnavailable       Redis is out of reach or refuses writes
    ├── NotSetUp               the operator has to provide something first
    └── ObjectError            about one stored object
        ├── ObjectMissing
        ├── ObjectDenied
        ├── ObjectTooLarge
        ├── ObjectChanged
        ├── InputUnreachable   it is at a URL that gives no picture
        └── StorageUnavailable

``code`` is stable and public, ``public`` is the sentence a stranger may read (no paths, hosts or keys),
``str(error)`` is for operators. ``retryable`` says whether the same call may succeed later unchanged.
"""

from __future__ import annotations

from typing import ClassVar


class JobsError(Exception):
    """Raised when the job contract is not met; see the subclasses."""

    code: ClassVar[str] = "internal"
    public: ClassVar[str] = "Something went wrong on our side."
    retryable: ClassVar[bool] = False


class InvalidRequest(JobsError):
    """Raised when a request cannot be understood or is not allowed, whatever the state of the world."""

    code = "invalid_request"
    public = "The request is not valid."

    def __init__(self, detail: str, *, pointer: str | None = None) -> None:
        super().__init__(detail)
        #: A sentence for the caller: names the value and what is allowed.
        self.detail = detail
        #: JSON pointer to the offending member, such as ``/options/scale``.
        self.pointer = pointer


class InvalidOption(InvalidRequest):
    """Raised when an option is unknown, out of range, or cannot be honoured by the named model."""

    code = "invalid_option"
    public = "An option is not valid."


class CallbackRefused(InvalidRequest):
    """Raised when a callback may not go where its URL points, or none can be signed here."""

    code = "callback_refused"
    public = "The callback's URL is not allowed."


class InputRefused(InvalidRequest):
    """Raised when a picture may not be fetched from where its URL points, or from no URL at all here."""

    code = "input_refused"
    public = "The input's URL is not allowed."


class JobNotFound(JobsError):
    """Raised when no such job exists for this tenant."""

    code = "job_not_found"
    public = "There is no such job."


class TenantNotFound(JobsError):
    """Raised when nobody set up such a tenant."""

    code = "tenant_not_found"
    public = "There is no such tenant."


class KeyNotFound(JobsError):
    """Raised when no such API key exists, for this tenant."""

    code = "key_not_found"
    public = "There is no such key."


class TooManyKeys(JobsError):
    """Raised when a tenant has as many active keys for the same scopes as it may have."""

    code = "too_many_keys"
    public = "There are two active keys for these scopes already."


class IllegalMove(JobsError):
    """Raised when the record's state does not allow the transition."""

    code = "illegal_state"
    public = "The job's state does not allow this."


class Fenced(IllegalMove):
    """Raised when a worker writes with an epoch that is no longer the record's: another attempt owns the job."""

    code = "fenced"


class IdempotencyMismatch(JobsError):
    """Raised when an idempotency key is used again with another payload."""

    code = "idempotency_mismatch"
    public = "This Idempotency-Key was used before with another request."


class QuotaExceeded(JobsError):
    """Raised when a tenant has as many unfinished jobs as it may have."""

    code = "quota_exceeded"
    public = "Too many unfinished jobs; try again later."
    retryable = True

    def __init__(self, message: str = "", *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        #: Until it is worth to try again, by how fast work gets done.
        self.retry_after_s = retry_after_s


class DailyQuotaExceeded(QuotaExceeded):
    """Raised when a tenant has used up what it may use in a day; the message names the limit."""

    code = "daily_quota_exceeded"
    public = "What may be used in a day is used up."


class Overloaded(QuotaExceeded):
    """Raised when all tenants together have as many unfinished jobs as there may be."""

    code = "overloaded"
    public = "There is more work than we can take on at the moment; try again later."


class DeadlineExceeded(JobsError):
    """Raised when a job's deadline passes before it is done; the store itself fails queued jobs with this code."""

    code = "deadline_exceeded"
    public = "The job's deadline passed before it was done."


class TooManyInterruptions(JobsError):
    """Raised when a job's workers were lost as often as is allowed; the store itself fails jobs with this code."""

    code = "too_many_interruptions"
    public = "The job was interrupted too often."


class Poison(JobsError):
    """Raised when processes died under a job as often as is allowed though nothing else ran there."""

    code = "poison"
    public = "The picture made the program that worked on it fail, each time it was tried."


class SpecForged(JobsError):
    """Raised when a job's record is not one that this service signed; the store itself fails jobs with this code."""

    code = "spec_forged"
    public = "The job's record was not written by this service, or was changed: nothing was read or done."


class StoreUnavailable(JobsError):
    """Raised when Redis cannot be reached, is loading, or refuses writes (memory, read-only, replicas)."""

    code = "store_unavailable"
    public = "The job store is not available at the moment; try again."
    retryable = True


class NotSetUp(JobsError):
    """Raised when a process lacks what only its operator can provide; the message says what to do."""

    public = "The service is not set up."


class ObjectError(JobsError):
    """Raised when a stored object cannot be read or written; see the subclasses."""


class ObjectMissing(ObjectError):
    """Raised when the bucket or key does not exist."""

    code = "input_not_found"
    public = "There is no object at the input's address."


class ObjectDenied(ObjectError):
    """Raised when the storage refuses our credentials for this object."""

    code = "input_denied"
    public = "The storage does not let us read or write this object."


class ObjectTooLarge(ObjectError):
    """Raised when an object has more bytes than the limit."""

    code = "input_too_many_bytes"
    public = "The input file is larger than allowed."


class ObjectChanged(ObjectError):
    """Raised when an object is not the one that was submitted (ETag, length or checksum differ)."""

    code = "input_changed"
    public = "The input is not the one that was submitted: its length, type, checksum or version differs."


class InputUnreachable(ObjectError):
    """Raised when an input URL may not be called, or does not give the picture."""

    code = "input_unreachable"
    public = "The picture could not be fetched from the input's URL."

    def __init__(self, message: str = "", *, detail: str | None = None) -> None:
        super().__init__(detail or message)
        #: What the job's owner may read of it.
        self.detail = detail


class StorageUnavailable(ObjectError):
    """Raised when the storage does not answer, throttles us or fails."""

    code = "storage_unavailable"
    public = "The object storage is not available at the moment."
    retryable = True
