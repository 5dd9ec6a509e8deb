"""``photomend tenants``: who shares the service, and what each is entitled to. For operators: it asks Redis."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from photomend.commands.operating import opened_store

if TYPE_CHECKING:
    from jobs.model import Tenant
    from jobs.store import JobStore

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

app = typer.Typer(no_args_is_help=True, help="Set up who shares the service, and what each is entitled to.")

Name = Annotated[str, typer.Argument(metavar="TENANT", help="Its name: lower-case letters, digits, _ and -.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Weight = Annotated[float | None, typer.Option(help="Its share of a busy fleet against the others'; 1 unless set.")]
MaxUnfinished = Annotated[
    str | None,
    typer.Option(metavar="N|none", help="Jobs it may have waiting or running; none = PHOTOMEND_MAX_WAITING_JOBS."),
]
Requests = Annotated[
    str | None,
    typer.Option(
        metavar="N|none", help="Calls of all its keys; 0 = no limit, none = PHOTOMEND_TENANT_REQUESTS_PER_MIN."
    ),
]
Megapixels = Annotated[
    str | None, typer.Option("--megapixels-a-day", metavar="N|none", help="Of its pictures, by UTC; none = no limit.")
]
UploadBytes = Annotated[
    str | None, typer.Option("--upload-bytes-a-day", metavar="N|none", help="Of its uploads; none = no limit.")
]
KeepUploads = Annotated[
    str | None,
    typer.Option("--keep-uploads", metavar="TIME|none", help="As 12h or 30d; none = PHOTOMEND_UPLOAD_TTL_S."),
]
KeepResults = Annotated[
    str | None,
    typer.Option("--keep-results", metavar="TIME|none", help="As 12h or 30d; none = PHOTOMEND_RESULT_TTL_S."),
]
KeepRecords = Annotated[
    str | None,
    typer.Option("--keep-records", metavar="TIME|none", help="Of finished jobs; none = PHOTOMEND_RECORD_TTL_S."),
]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="BUCKET[/FOLDER]|none",
        help="What it may name as s3://… beside its own uploads; repeat it. It replaces what was open before.",
    ),
]
Outputs = Annotated[
    list[str] | None,
    typer.Option(
        "--output",
        metavar="BUCKET[/FOLDER]|none",
        help="Where its batches may deliver; repeat it. It replaces what was open before.",
    ),
]


@app.command("create")
def create(
    name: Name,
    *,
    weight: Weight = None,
    max_unfinished: MaxUnfinished = None,
    requests_per_min: Requests = None,
    megapixels_a_day: Megapixels = None,
    upload_bytes_a_day: UploadBytes = None,
    keep_uploads: KeepUploads = None,
    keep_results: KeepResults = None,
    keep_records: KeepRecords = None,
    inputs: Inputs = None,
    outputs: Outputs = None,
    as_json: AsJson = False,
) -> None:
    """Set up a tenant. Then make a key for it with `photomend keys create`.

    Examples:
      photomend tenants create acme

      photomend tenants create acme --weight 3 --max-unfinished 10000 --input acme-photos --input scans/acme
    """
    from jobs.errors import InvalidRequest
    from jobs.model import Tenant, TenantId

    with opened_store() as (store, console):
        if store.tenants.exists(TenantId(name)):
            raise InvalidRequest(f"there is a tenant {name} already; `photomend tenants set {name}` changes it")
        tenant = _changed(
            Tenant(id=TenantId(name)),
            weight=weight,
            max_unfinished=max_unfinished,
            requests_per_min=requests_per_min,
            megapixels_a_day=megapixels_a_day,
            upload_bytes_a_day=upload_bytes_a_day,
            kept={"upload_ttl_s": keep_uploads, "result_ttl_s": keep_results, "record_ttl_s": keep_records},
            inputs=inputs,
            outputs=outputs,
        )
        store.set_tenant(tenant)
        _show(store, console, tenant, as_json=as_json)


@app.command("set")
def set_tenant(
    name: Name,
    *,
    weight: Weight = None,
    max_unfinished: MaxUnfinished = None,
    requests_per_min: Requests = None,
    megapixels_a_day: Megapixels = None,
    upload_bytes_a_day: UploadBytes = None,
    keep_uploads: KeepUploads = None,
    keep_results: KeepResults = None,
    keep_records: KeepRecords = None,
    inputs: Inputs = None,
    outputs: Outputs = None,
    as_json: AsJson = False,
) -> None:
    """Change what a tenant is entitled to, from its next call on; what is not named stays as it is.

    Examples:
      photomend tenants set acme --weight 0.5 --max-unfinished none

      photomend tenants set acme --keep-uploads 6h --keep-results 30d --keep-records none
    """
    from jobs.model import TenantId

    with opened_store() as (store, console):
        tenant = _changed(
            store.tenants.get(TenantId(name)),
            weight=weight,
            max_unfinished=max_unfinished,
            requests_per_min=requests_per_min,
            megapixels_a_day=megapixels_a_day,
            upload_bytes_a_day=upload_bytes_a_day,
            kept={"upload_ttl_s": keep_uploads, "result_ttl_s": keep_results, "record_ttl_s": keep_records},
            inputs=inputs,
            outputs=outputs,
        )
        store.set_tenant(tenant)
        _show(store, console, tenant, as_json=as_json)


@app.command("list")
def list_tenants(as_json: AsJson = False) -> None:
    """Print all tenants that were set up.

    Example: photomend tenants list --json
    """
    with opened_store() as (store, console):
        found = [_words(store, tenant) for tenant in store.tenants.list()]
        if as_json:
            _write(found)
            return
        if found:
            console.print(_table(found))
        console.print(f"{len(found)} tenants" if len(found) != 1 else "1 tenant")


@app.command("show")
def show(name: Name, as_json: AsJson = False) -> None:
    """Print what a tenant is entitled to, what it has, and what it has used today (by UTC).

    Example: photomend tenants show acme
    """
    from jobs.model import TenantId

    with opened_store() as (store, console):
        _show(store, console, store.tenants.get(TenantId(name)), as_json=as_json)


@app.command("delete")
def delete(name: Name) -> None:
    """Revoke all keys of a tenant and forget what it is entitled to. Its jobs end and are removed as jobs are.

    Example: photomend tenants delete acme
    """
    from jobs.model import TenantId

    with opened_store() as (store, console):
        tenant = store.tenants.get(TenantId(name))
        revoked = [store.keys.revoke(key.id) for key in store.keys.list(tenant.id) if key.revoked_at is None]
        store.tenants.delete(tenant.id)
        console.print(f"{name} is deleted, {len(revoked)} keys are revoked", highlight=False)


def _changed(
    tenant: Tenant,
    *,
    weight: float | None,
    inputs: list[str] | None,
    kept: dict[str, str | None],
    outputs: list[str] | None,
    **limits: str | None,
) -> Tenant:
    changes: dict[str, Any] = {}
    if weight is not None:
        changes["weight"] = weight
    for name, text in limits.items():
        if text is not None:
            changes[name] = _number(text, f"--{name.replace('_', '-')}")
    for name, text in kept.items():
        if text is not None:
            changes[name] = _seconds(text, f"--keep-{name.partition('_')[0]}s")
    for name, places in (("inputs", inputs), ("outputs", outputs)):
        if places is not None:
            changes[name] = () if places == ["none"] else tuple(p.removeprefix("s3://").strip("/") for p in places)
    return dataclasses.replace(tenant, **changes)


def _number(text: str, flag: str) -> int | None:
    if text == "none":
        return None
    if not text.isdecimal():
        raise typer.BadParameter(f"{text!r} is neither a number nor none", param_hint=flag)
    return int(text)


def _seconds(text: str, flag: str) -> int | None:
    if text == "none":
        return None
    number, unit = text[:-1], text[-1:]
    if not number.isdecimal() or unit not in _UNITS:
        raise typer.BadParameter(f"{text!r} is neither a time, such as 90m, 12h or 30d, nor none", param_hint=flag)
    return int(number) * _UNITS[unit]


def _words(store: JobStore, tenant: Tenant) -> dict[str, Any]:
    keys = [key.id for key in store.keys.list(tenant.id) if not key.revoked_at]
    used, spent = store.tenants.usage(tenant.id), store.tenants.spent(tenant.id)
    told = {"gpu_s": {name.removesuffix("_s"): seconds for name, seconds in dataclasses.asdict(spent).items()}}
    if (price := store.price) is not None:
        told["cost"] = {name: round(price.of(seconds), 2) for name, seconds in told["gpu_s"].items()}
        told["cost"]["currency"] = price.currency
    return dataclasses.asdict(tenant) | {"keys": keys, "used": dataclasses.asdict(used), "spent": told}


def _show(store: JobStore, console: Any, tenant: Tenant, *, as_json: bool) -> None:
    words = _words(store, tenant)
    if as_json:
        _write(words)
        return
    used, spent = words.pop("used"), words.pop("spent")
    for field, value in words.items():
        said = ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
        console.print(f"{field:22}{'-' if said in (None, '') else said}", soft_wrap=True, highlight=False, markup=False)
    hours, minutes = divmod(used["day_ends_in_s"] // 60, 60)
    console.print(f"\nused, of what is allowed (the day ends in {hours} h {minutes} min)", highlight=False)
    for what, limit in (
        ("unfinished", "max_unfinished"),
        ("megapixels_today", "megapixels_a_day"),
        ("upload_bytes_today", "upload_bytes_a_day"),
    ):
        of = "" if words[limit] is None else f" of {words[limit]:,}"
        console.print(f"{what:22}{used[what]:,}{of}", highlight=False, markup=False)
    console.print("\ndevices' time of what has succeeded (days by UTC)", highlight=False)
    for what, label in (("today", "today"), ("month", "this month"), ("year", "last 365 days")):
        cost = f"   {spent['cost'][what]:,.2f} {spent['cost']['currency']}" if "cost" in spent else ""
        console.print(f"{label:22}{spent['gpu_s'][what]:,.1f} s{cost}", highlight=False, markup=False)


def _table(tenants: list[dict[str, Any]]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table("tenant", "weight", "max unfinished", "keys", box=None, pad_edge=False)
    for words in tenants:
        quota = words["max_unfinished"]
        table.add_row(
            Text(words["id"]), f"{words['weight']:g}", "-" if quota is None else str(quota), str(len(words["keys"]))
        )
    return table


def _write(words: object) -> None:
    sys.stdout.write(json.dumps(words, indent=2, ensure_ascii=False) + "\n")
