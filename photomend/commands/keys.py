"""``photomend keys``: who may call the API. For operators: it asks Redis."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from photomend.commands.operating import opened_store

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jobs.keys import ApiKey

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke the keys by which tenants call the API.")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]

_DAY_S = 86400


@app.command("create")
def create(
    tenant: Annotated[str, typer.Option("--tenant", help="Whose key it is; see `photomend tenants`.")],
    scopes: Annotated[
        str,
        typer.Option(
            help="Of submit (all that changes its jobs), read, admin (both) and metrics (the figures of all tenants)."
        ),
    ] = "submit,read",
    label: Annotated[str, typer.Option(help="A name for people, such as the program that uses it.")] = "",
    days: Annotated[float | None, typer.Option("--days", help="It expires after so many days.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, this once: it is not kept and cannot be shown again.

    A tenant has at most two active keys for the same scopes: to change one, make the second, let the programs use it,
    then revoke the first.

    Examples:
      photomend keys create --tenant acme --label shop

      photomend keys create --tenant acme --scopes read --days 90

      photomend keys create --tenant operators --scopes metrics --label prometheus
    """
    from jobs.keys import Scope
    from jobs.model import TenantId

    words = [word.strip() for word in scopes.split(",")]
    strange = [word for word in words if word not in set(Scope)]
    if strange:
        raise typer.BadParameter(f"{strange[0]!r} is none of {', '.join(Scope)}", param_hint="--scopes")
    with opened_store() as (store, _):
        key, kept = store.keys.create(
            TenantId(tenant),
            scopes=[Scope(word) for word in words],
            label=label,
            expires_in_s=None if days is None else days * _DAY_S,
        )
        if as_json:
            _write(_words(kept) | {"key": key})
            return
        typer.echo(f"Key {kept.id} of {tenant} for {', '.join(kept.scopes)}. It is not shown again:", err=True)
        # Alone on standard output and whole, so that it can be piped into a secret store.
        sys.stdout.write(f"{key}\n")


@app.command("list")
def list_keys(
    tenant: Annotated[str | None, typer.Option("--tenant", help="Only this tenant's.")] = None, as_json: AsJson = False
) -> None:
    """Print the keys, never the secrets: whose, what for, since when, used when. Revoked ones for thirty days.

    Examples:
      photomend keys list

      photomend keys list --tenant acme --json
    """
    from jobs.model import TenantId

    with opened_store() as (store, console):
        found = list(store.keys.list(None if tenant is None else TenantId(tenant)))
        if as_json:
            _write([_words(key) for key in found])
            return
        if found:
            console.print(_table(found, store.keys.now()))
        console.print(f"{len(found)} keys" if len(found) != 1 else "1 key")


@app.command("revoke")
def revoke(key_id: Annotated[str, typer.Argument(metavar="KEY", help="A key's id, or the key itself.")]) -> None:
    """Make a key open nothing any more, everywhere within seconds. Doing it again changes nothing.

    Example: photomend keys revoke 4f8k2m9qw1xz
    """
    from jobs.keys import KeyId, id_in

    with opened_store() as (store, console):
        # Whoever has found a leaked key has just that.
        kept = store.keys.revoke(id_in(key_id) or KeyId(key_id))
        console.print(f"Key {kept.id} of {kept.tenant} is revoked", highlight=False)


def _words(key: ApiKey) -> dict[str, Any]:
    from jobs.view import timestamp

    words = dataclasses.asdict(key)
    del words["sha256"]
    times = ("created_at", "expires_at", "revoked_at", "used_at")
    return words | {name: timestamp(words[name]) for name in times}


def _table(keys: Iterable[ApiKey], now: float) -> Any:
    from rich.table import Table
    from rich.text import Text

    from jobs.view import timestamp

    table = Table("id", "tenant", "scopes", "label", "state", "made", "last used", "expires", box=None, pad_edge=False)
    for key in keys:
        state = "active" if key.is_active(now) else "revoked" if key.revoked_at else "expired"
        used, expires = timestamp(key.used_at) or "never", timestamp(key.expires_at) or "never"
        made = timestamp(key.created_at)
        table.add_row(key.id, Text(key.tenant), ",".join(key.scopes), Text(key.label), state, made, used, expires)
    # Ids are there to be copied: never cut.
    table.columns[0].no_wrap = True
    return table


def _write(words: object) -> None:
    sys.stdout.write(json.dumps(words, indent=2, ensure_ascii=False) + "\n")
