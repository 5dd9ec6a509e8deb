"""What the API needs to know of its surroundings. The environment is read here and nowhere else in api/."""

from __future__ import annotations

from pydantic import Field

from jobs.settings import JobsSettings


class ApiSettings(JobsSettings):
    """Settings of the API process. Environment: ``PHOTOMEND_*``."""

    api_host: str = Field(default="127.0.0.1", description="Address that the API listens on")
    api_port: int = Field(default=8080, ge=0, le=65535, description="Port that the API listens on; 0 = any free one")
    api_allow_hosts: tuple[str, ...] = Field(
        default=(),
        description="JSON list of names, with or without :port, under which callers and their web pages may reach the "
        "API beside its own address",
    )
    max_json_bytes: int = Field(default=64 * 1024, gt=0, description="Largest JSON body")
    presign_ttl_s: int = Field(
        default=900, gt=0, le=7 * 86400, description="How long a presigned upload or result URL works"
    )
    events_keepalive_s: float = Field(default=15.0, gt=0, description="Silence after which a comment is sent")
    events_poll_s: float = Field(default=0.25, gt=0, description="How often a watched job's record is read")
