"""What the contract needs to know of its surroundings. The environment is read here and nowhere else in jobs/."""

from __future__ import annotations

import os

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from jobs import callbacks
from jobs.environment import from_files
from jobs.model import TenantId
from jobs.price import Price

#: Of the environment variables that are settings.
PREFIX = "PHOTOMEND_"
#: What stands in examples where a secret belongs, and fewer different characters than any random secret has.
PLACEHOLDERS = ("changeme", "change-me", "change_me", "placeholder", "example", "your-secret", "insecure")
FEWEST_CHARACTERS = 10


class JobsSettings(BaseSettings):
    """Settings of everything that speaks to Redis or S3: API, keeper, worker. Environment: ``PHOTOMEND_*``.

    Each may lie in a file that ``PHOTOMEND_*_FILE`` names.

    Raises:
        NotSetUp: such a file cannot be read, or the setting is in the environment as well.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True)

    redis_url: str = Field(
        default="redis://127.0.0.1:6379/0", pattern="^(rediss?|unix)://", description="Job records and Celery messages"
    )
    broker_url: str | None = Field(
        default=None, description="Redis for Celery's messages, another logical DB or server; unset = redis_url"
    )
    redis_min_replicas: int = Field(
        default=0, ge=0, description="Replicas that must have a job before it is accepted; 0 = one if any is connected"
    )
    allow_volatile_redis: bool = Field(
        default=False,
        description="1 = start also over a Redis that forgets accepted jobs when it restarts (no append-only file):"
        " for trials, and where replicas keep them",
    )
    s3_endpoint_url: str | None = Field(default=None, description="S3-compatible storage; unset = AWS")
    s3_public_endpoint_url: str | None = Field(
        default=None, description="Where callers reach the storage (presigned URLs); unset = s3_endpoint_url"
    )
    s3_region: str = Field(default="us-east-1", description="Region that requests are signed for")
    s3_access_key_id: SecretStr | None = Field(default=None, description="Unset = boto3's own credential chain")
    s3_secret_access_key: SecretStr | None = Field(
        default=None, validate_default=True, description="Goes with s3_access_key_id"
    )
    s3_checksums: str = Field(
        default="auto",
        pattern="^(auto|when_required|when_supported)$",
        description="auto = when_required for a custom endpoint, when_supported on AWS",
    )
    bucket: str = Field(default="photomend", description="Where uploads and results of this installation go")
    callback_secret: SecretStr | None = Field(
        default=None, description="Standard Webhooks secret (whsec_…, 24 to 64 bytes); callbacks are refused without it"
    )
    callback_secret_previous: SecretStr | None = Field(
        default=None,
        description="While receivers change to a new callback_secret: the old one, with which callbacks are signed too",
    )
    callback_allow_hosts: tuple[str, ...] = Field(
        default=(), description="JSON list of host:port that callbacks may go to though they are not public addresses"
    )
    input_urls: bool = Field(
        default=False, description="1 = a job's input may be an http(s) URL, which the worker fetches; 0 = s3:// only"
    )
    input_allow_hosts: tuple[str, ...] = Field(
        default=(), description="JSON list of host:port that inputs may be fetched from though they are not public"
    )
    signing_secret: SecretStr | None = Field(
        default=None,
        min_length=32,
        description="Signs jobs, keys and tenants in Redis: whoever can write there can still make no worker read a"
        " bucket. The same for API, keeper, worker and operators; none of them starts without it",
    )
    signing_secret_previous: SecretStr | None = Field(
        default=None, min_length=32, description="While signing_secret is changed: what this one signed is good as well"
    )
    lease_s: float = Field(default=10.0, gt=0, description="How long a worker owns a job without a beat")
    max_upload_bytes: int = Field(default=512 * 1024 * 1024, gt=0, description="Largest input file")
    max_waiting_jobs: int = Field(default=1_000_000, gt=0, description="Unfinished jobs that a tenant may have")
    max_unfinished_jobs: int = Field(
        default=5_000_000, gt=0, description="Unfinished jobs of all tenants; with more, submits get 503 overloaded"
    )
    record_ttl_s: int = Field(default=30 * 86400, gt=0, description="How long a finished job's record stays")
    result_ttl_s: int = Field(default=7 * 86400, gt=0, description="How long results stay")
    upload_ttl_s: int = Field(default=86400, gt=0, description="How long uploads stay")
    idempotency_ttl_s: int = Field(default=86400, gt=0, description="How long an Idempotency-Key is remembered")
    resend_after_s: float = Field(default=5.0, gt=0, description="A sent job unclaimed for this long is sent again")
    max_attempts: int = Field(default=10, gt=0, description="Claims before a job fails as too_many_interruptions")

    gpu_hour_price: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="What an hour of a device costs you: batches, their reports, dry runs and `photomend tenants show`"
        " tell a cost by it; a batch keeps the price of its submit",
    )
    currency: str = Field(default="EUR", pattern="^[A-Z]{3}$", description="Of gpu_hour_price, by ISO 4217")
    metrics_host: str = Field(default="127.0.0.1", description="Address that Prometheus' figures are told on")
    metrics_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="Port of API, keeper and worker on which whoever reaches it may read their figures, without a key;"
        " 0 = any free one, unset = none",
    )
    traces: bool = Field(
        default=False,
        description="1 = tell OpenTelemetry of every job, from call to callback (extra `otel`); where to and how much,"
        " its own `OTEL_*` variables say",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given in code, the files that the environment names, and the environment."""
        del dotenv_settings, file_secret_settings
        files = EnvSettingsSource(settings_cls)
        names = (f"{PREFIX}{name.upper()}" for name in settings_cls.model_fields)
        files.env_vars = {name.lower(): text for name, text in from_files(os.environ, names).items()}
        return init_settings, files, env_settings

    @field_validator("callback_secret", "callback_secret_previous")
    @classmethod
    def _secrets_are_the_standards(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and not callbacks.is_secret(secret.get_secret_value()):
            raise ValueError("must be whsec_ and base64 of 24 to 64 bytes: echo whsec_$(openssl rand -base64 32)")
        return secret

    @field_validator("signing_secret", "signing_secret_previous", "callback_secret", "callback_secret_previous")
    @classmethod
    def _secrets_are_random(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None:
            text = secret.get_secret_value()
            if len(set(text)) < FEWEST_CHARACTERS or any(word in text.casefold() for word in PLACEHOLDERS):
                raise ValueError("is a placeholder, not a secret: openssl rand -base64 32 makes one")
        return secret

    @field_validator("s3_secret_access_key")
    @classmethod
    def _s3_keys_are_a_pair(cls, secret: SecretStr | None, others: ValidationInfo) -> SecretStr | None:
        key = others.data.get("s3_access_key_id")
        if bool(key and key.get_secret_value()) != bool(secret and secret.get_secret_value()):
            raise ValueError("goes with s3_access_key_id: set both, or neither")
        return secret

    @property
    def price(self) -> Price | None:
        """Of an hour of a device, if the operator has said it."""
        return None if self.gpu_hour_price is None else Price(hour=self.gpu_hour_price, currency=self.currency)

    def callback_secrets(self, tenant: TenantId) -> tuple[str, ...]:
        """What the tenant's callbacks are signed with, the newest first; empty where callbacks are switched off."""
        if self.callback_secret is None:
            return ()
        masters = (self.callback_secret, self.callback_secret_previous)
        return tuple(callbacks.tenant_secret(m.get_secret_value(), tenant) for m in masters if m is not None)
