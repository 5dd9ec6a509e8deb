"""What the API needs to know of its surroundings. The environment is read here and nowhere else in api/."""

from __future__ import annotations

from pydantic import Field

from api.strangers import is_loopback
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
    api_keys_required: bool = Field(
        default=False,
        description="1 = callers need a key on loopback too, as behind a proxy on this machine; elsewhere they always"
        " do",
    )
    max_json_bytes: int = Field(default=64 * 1024, gt=0, description="Largest JSON body")
    key_requests_per_min: int = Field(
        default=6000, ge=0, description="Calls that one key may make a minute, as many at once; 0 = no limit"
    )
    tenant_requests_per_min: int = Field(
        default=12000,
        ge=0,
        description="Calls of all keys of a tenant unless `photomend tenants set` says otherwise; 0 = no limit",
    )
    callback_tests_per_min: int = Field(default=10, gt=0, description="Test deliveries of a tenant a minute")
    presign_ttl_s: int = Field(
        default=900, gt=0, le=7 * 86400, description="How long a presigned upload or result URL works"
    )
    events_keepalive_s: float = Field(default=15.0, gt=0, description="Silence after which a comment is sent")
    events_poll_s: float = Field(default=0.25, gt=0, description="How often a watched job's record is read")

    @property
    def page_origins(self) -> tuple[str, ...]:
        """Under which addresses browsers have the page: our own on loopback, and the allowed names."""
        own = (f"http://{self.api_host}:{self.api_port}",) if is_loopback(self.api_host) else ()
        return own + tuple(f"https://{host}" for host in self.api_allow_hosts)

    @property
    def needs_keys(self) -> bool:
        """Whether a caller without a key is refused: everywhere but on loopback, where the machine's owner is alone."""
        return self.api_keys_required or not is_loopback(self.api_host)
