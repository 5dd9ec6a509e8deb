"""What `up` does to a bucket's CORS rules: adds what is missing, never takes away, and lives with a refusal."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from jobs.blobs import BlobStore

ORIGINS = ["http://127.0.0.1:8080"]
OURS = {"AllowedOrigins": ORIGINS, "AllowedMethods": ["PUT"], "AllowedHeaders": ["content-type"]}


class Storage:
    """The two calls of S3 that matter here."""

    def __init__(self, rules: list[dict[str, Any]] | None = None, *, refuses: bool = False) -> None:
        self.rules, self.refuses, self.writes = rules, refuses, 0

    def get_bucket_cors(self, **_: Any) -> dict[str, Any]:
        if self.rules is None:
            raise _error("NoSuchCORSConfiguration", 404)
        return {"CORSRules": self.rules}

    def put_bucket_cors(self, *, CORSConfiguration: dict[str, Any], **_: Any) -> None:
        if self.refuses:
            raise _error("NotImplemented", 501)
        self.writes += 1
        self.rules = CORSConfiguration["CORSRules"]


def _error(code: str, status: int) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "Cors")


def let_in(storage: Storage) -> bool:
    return BlobStore(storage, public=storage).let_pages_in("b", ORIGINS)


def test_a_bucket_without_rules_gets_ours_once():
    storage = Storage()
    assert let_in(storage)
    assert let_in(storage)
    assert (storage.rules, storage.writes) == ([OURS], 1)


def test_rules_that_are_there_stay():
    others = {"AllowedOrigins": ["https://example.com"], "AllowedMethods": ["GET"]}
    storage = Storage([others])
    assert let_in(storage)
    assert storage.rules == [others, OURS]


def test_a_rule_that_allows_more_is_enough():
    storage = Storage([{"AllowedOrigins": ["*"], "AllowedMethods": ["GET", "PUT"], "AllowedHeaders": ["*"]}])
    assert let_in(storage)
    assert storage.writes == 0


def test_a_storage_that_refuses_is_told_of_and_no_error():
    assert not let_in(Storage(refuses=True))
