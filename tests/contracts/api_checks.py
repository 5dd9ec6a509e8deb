"""A check for schemathesis, which loads this: what the contract calls valid is refused for good reasons only.

Its own ``positive_data_acceptance`` knows statuses; a 422 may be right for a callback that leads to a forbidden address
and wrong for an option that the schema allows. So this one knows our codes.
"""

from __future__ import annotations

import re
from typing import Any

import schemathesis

#: What a schema can tell. Any other refusal is of what it cannot: how a name resolves, what a file holds, what happened
#: before, what is switched on here, which of two limits is lower.
TOLD_BY_SCHEMA = frozenset({
    "malformed_body", "invalid_idempotency_key", "invalid_request", "invalid_option", "unsupported_media_type",
    "method_not_allowed", "unauthorized", "missing_scope", "unexpected_host", "fenced", "internal", "unreadable_record",
    "spec_forged",
})  # fmt: skip
#: Members that may suit their own schema and not what is beside them: an address has the form that its pattern tells
#: and still holds "..", a box's corners are the wrong way round, an option is not one of the chosen model's, a checksum
#: is another than the upload's.
NOT_TOLD_OF_MEMBERS = re.compile(
    r"/input|/input_sha256|/size|/output|/naming|/(prefix|manifest)/(uri|etag)|"
    r"/options/(faces|denoise|seed|passes|min_face_px|max_face_px)(/.*)?"
)


@schemathesis.check
def valid_is_accepted(ctx: Any, response: Any, case: Any) -> None:
    """What the schema allows is taken, or refused with a code that says why no schema could tell."""
    meta = case.meta
    if meta is None or not meta.generation.mode.is_positive or response.status_code < 400:
        return
    said = response.json()
    code, pointer = said["code"], said.get("pointer", "")
    if code not in TOLD_BY_SCHEMA:
        return
    if code in {"invalid_request", "invalid_option"} and NOT_TOLD_OF_MEMBERS.fullmatch(pointer):
        return
    if code == "invalid_option" and case.path.endswith("/redo"):
        # Which options mean something there depends on the job.
        return
    if code in {"invalid_request", "invalid_option"} and case.media_type == "multipart/form-data":
        # Plain fields, as curl sends them, are told of in words only.
        return
    raise AssertionError(f"The contract calls this valid, and it is refused: {said}")
