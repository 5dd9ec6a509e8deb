"""Who shares the service, and what each is entitled to."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from jobs.codec import dump_json
from jobs.connection import PREFIX, Scripts, translated
from jobs.errors import InvalidRequest, ObjectDenied, TenantNotFound
from jobs.model import LOCAL_TENANT, ObjectRef, Tenant, TenantId
from jobs.object_names import owner_of
from jobs.signing import Seal

#: It stands in keys of Redis and of objects, between slashes and colons.
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\Z")

#: How long it is believed what a tenant may name (seconds), and of how many tenants it is remembered.
KNOWN_S = 2.0
MOST_KNOWN = 4096
_DAY_S, _YEAR_DAYS = 86_400, 365

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a tenant has now, and has used since 00:00 UTC."""

    unfinished: int  #: jobs that wait or run
    megapixels_today: float  #: of its pictures; those that are not done yet as estimated
    upload_bytes_today: int  #: as declared
    day_ends_in_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """How long devices worked for what a tenant has got: seconds of jobs that succeeded, days by UTC."""

    today_s: float
    month_s: float  #: of this calendar month
    year_s: float  #: of the last 365 days


class Tenants:
    """The tenants' records. Those that nobody set up have the defaults."""

    def __init__(self, scripts: Scripts, seal: Seal) -> None:
        self._scripts = scripts
        self._seal = seal
        self._known: dict[TenantId, tuple[tuple[str, ...] | None, float]] = {}
        self._lock = threading.Lock()

    def set(self, tenant: Tenant) -> None:
        """Say what a tenant is entitled to, from its next submit and its next turn on.

        Raises:
            InvalidRequest: its name is none.
            StoreUnavailable: Redis did not answer.
        """
        if not _NAME.match(tenant.id):
            raise InvalidRequest(f"a tenant's name is up to 63 lower-case letters, digits, _ and -, not {tenant.id!r}")
        inputs = "" if tenant.inputs is None else dump_json([place.strip("/") for place in tenant.inputs])
        code = self._seal.code("tenant", tenant.id, inputs) if inputs else ""
        daily = ["" if value is None else value for value in (tenant.megapixels_a_day, tenant.upload_bytes_a_day)]
        limits = ["" if value is None else value for value in (tenant.max_unfinished, tenant.requests_per_min)]
        times = (tenant.upload_ttl_s, tenant.result_ttl_s, tenant.record_ttl_s)
        kept = ["" if value is None else value for value in times]
        outputs = "" if tenant.outputs is None else dump_json([place.strip("/") for place in tenant.outputs])
        outputs_code = self._seal.code("outputs", tenant.id, outputs) if outputs else ""
        args = [tenant.id, tenant.weight, *limits, inputs, code, *daily, *kept, outputs, outputs_code]
        self._scripts.call("tenant", keys=[f"{PREFIX}tenant:{tenant.id}"], args=args)
        with self._lock:
            self._known.pop(tenant.id, None)

    def entitlement(self, tenant_id: TenantId) -> Tenant:
        """What a tenant is entitled to, whether it was set up or not.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        with translated():
            fields = ["weight", "quota", "rate", "inputs", "code", "megapixels", "bytes", "outputs", "outputs_code"]
            kept = ["upload_ttl", "result_ttl", "record_ttl"]
            found: Any = self._scripts.client.hmget(f"{PREFIX}tenant:{tenant_id}", fields + kept)
        weight, quota, rate, inputs, code, megapixels, size, outputs, outputs_code, *kept_s = found
        upload_ttl_s, result_ttl_s, record_ttl_s = (int(seconds) if seconds else None for seconds in kept_s)
        if inputs and not self._seal.is_genuine(code, "tenant", tenant_id, inputs):
            logger.error("a tenant's inputs are not signed by us: it may name none", tenant=tenant_id)
            inputs = "[]"
        if outputs and not self._seal.is_genuine(outputs_code, "outputs", tenant_id, outputs):
            logger.error("a tenant's outputs are not signed by us: it may deliver nowhere", tenant=tenant_id)
            outputs = "[]"
        return Tenant(
            id=tenant_id,
            weight=float(weight or 1.0),
            max_unfinished=int(quota) if quota else None,
            requests_per_min=int(rate) if rate else None,
            megapixels_a_day=int(megapixels) if megapixels else None,
            upload_bytes_a_day=int(size) if size else None,
            inputs=tuple(json.loads(inputs)) if inputs else None,
            outputs=tuple(json.loads(outputs)) if outputs else None,
            upload_ttl_s=upload_ttl_s,
            result_ttl_s=result_ttl_s,
            record_ttl_s=record_ttl_s,
        )

    def usage(self, tenant_id: TenantId) -> Usage:
        """What a tenant has used of what it is entitled to.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        told = self._scripts.call("usage", keys=[f"{PREFIX}used:{tenant_id}"], args=[tenant_id])
        unfinished, megapixels, size, left_s = told
        return Usage(
            unfinished=int(unfinished),
            megapixels_today=round(float(megapixels), 3),
            upload_bytes_today=round(float(size)),
            day_ends_in_s=int(left_s),
        )

    def spent(self, tenant_id: TenantId) -> Spent:
        """How long devices worked for a tenant.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        with translated():
            client: Any = self._scripts.client
            now, found = client.time()[0], client.hgetall(f"{PREFIX}spent:{tenant_id}")
        today = now // _DAY_S
        first = today - datetime.fromtimestamp(now, UTC).day + 1
        days = {int(day): float(seconds) for day, seconds in found.items()}

        def since(start: int) -> float:
            return round(sum(seconds for day, seconds in days.items() if day >= start), 3)

        return Spent(today_s=since(today), month_s=since(first), year_s=since(today - _YEAR_DAYS + 1))

    def require_readable(self, tenant_id: TenantId, ref: ObjectRef, *, bucket: str) -> None:
        """Make sure that a tenant may name this object as an input; whether it is there is not asked.

        ``bucket`` is where uploads and results of all tenants are: there each has its own only, whatever it was given.

        Raises:
            ObjectDenied: it may not.
            StoreUnavailable: Redis did not answer.
        """
        owner = owner_of(ref, bucket=bucket)
        if owner is not None:
            is_open = owner == tenant_id
        else:
            places = self._inputs(tenant_id)
            address = f"{ref.bucket}/{ref.key}"
            is_open = tenant_id == LOCAL_TENANT if places is None else _is_under(address, places)
        if not is_open:
            raise ObjectDenied(f"{tenant_id} may not read {ref.bucket}")

    def require_writable(self, tenant_id: TenantId, ref: ObjectRef, *, bucket: str) -> None:
        """Make sure that a tenant's batches may deliver under this prefix.

        Raises:
            ObjectDenied: they may not.
            StoreUnavailable: Redis did not answer.
        """
        places = self.entitlement(tenant_id).outputs
        address = f"{ref.bucket}/{ref.key}"
        is_open = tenant_id == LOCAL_TENANT if places is None else _is_under(address, places)
        if not is_open or owner_of(ref, bucket=bucket) is not None:
            raise ObjectDenied(f"{tenant_id} may not deliver to {ref.bucket}")

    def _inputs(self, tenant_id: TenantId) -> tuple[str, ...] | None:
        """As of a moment ago: a submit is to cost one call of the store."""
        with self._lock:
            places, until = self._known.get(tenant_id, (None, 0.0))
        if time.monotonic() >= until:
            until = time.monotonic() + KNOWN_S
            places = self.entitlement(tenant_id).inputs
            with self._lock:
                if len(self._known) >= MOST_KNOWN:
                    self._known.clear()
                self._known[tenant_id] = places, until
        return places

    def exists(self, tenant_id: TenantId) -> bool:
        """Whether somebody set it up.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        with translated():
            return self._scripts.client.zscore(f"{PREFIX}tenants", tenant_id) is not None

    def get(self, tenant_id: TenantId) -> Tenant:
        """What a tenant that was set up is entitled to.

        Raises:
            TenantNotFound: nobody set it up.
            StoreUnavailable: Redis did not answer.
        """
        if not self.exists(tenant_id):
            raise TenantNotFound(f"there is no tenant {tenant_id}")
        return self.entitlement(tenant_id)

    def list(self) -> Iterator[Tenant]:
        """All that were set up, in the order in which they were.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        with translated():
            names: Any = self._scripts.client.zrange(f"{PREFIX}tenants", 0, -1)
        for name in names:
            yield self.entitlement(TenantId(name))

    def delete(self, tenant_id: TenantId) -> None:
        """Forget what it is entitled to; its jobs stay as they are.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        self._scripts.call("tenant_delete", keys=[f"{PREFIX}tenant:{tenant_id}"], args=[tenant_id])


def _is_under(address: str, places: tuple[str, ...]) -> bool:
    # With the slash: `scans` opens neither `scans-of-others` nor a bucket that begins so.
    return any(address.startswith(f"{place}/") for place in places)
