"""The only downloader of weights: to a part file that can be resumed, checked by hash, then moved into place."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from pipeline.weights import WeightEntry

#: Connecting and waiting for more bytes; a download as a whole may take as long as it takes.
TIMEOUT = httpx.Timeout(30.0, read=60.0)


class FetchError(Exception):
    """Raised when a file could not be fetched; the message says what to do, and what was kept for the next try."""


def fetch(
    entry: WeightEntry,
    folder: Path,
    *,
    trust_first_use: bool = False,
    on_progress: Callable[[int, int | None], None] = lambda _done, _total: None,
    client: httpx.Client | None = None,
) -> str:
    """Put the entry's file into ``folder`` and return its SHA-256; ``on_progress`` is told bytes done and in all.

    The file appears under its name only when it is whole and its hash is right. What was received before a failure
    stays in ``.NAME.part`` and is continued by the next call.

    Raises:
        FetchError: no address, no hash to check by, a network or server failure, a full disk, a wrong hash.
    """
    if entry.url is None:
        raise FetchError(f"{entry.name} is not a released file, so there is nothing to fetch")
    if entry.sha256 is None and not trust_first_use:
        raise FetchError(
            f"no hash of {entry.file} is published, so it cannot be checked. If you trust the address {entry.url}, "
            f"say so: `photomend models fetch {entry.name} --trust-first-use` records the hash of what comes"
        )
    part = folder / f".{entry.file}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with client or httpx.Client(timeout=TIMEOUT, follow_redirects=True) as connection:
            _receive(connection, entry, part, on_progress)
        digest = _checked(entry, part)
        # Renaming is atomic: a worker that looks for the file sees nothing or all of it.
        part.replace(folder / entry.file)
    except httpx.HTTPError as err:
        kept = part.stat().st_size if part.exists() else 0
        raise FetchError(
            f"fetching {entry.url} failed after {kept:,} bytes ({type(err).__name__}: {err}); "
            "they are kept, call again to continue"
        ) from err
    except OSError as err:
        raise FetchError(f"cannot write {folder / entry.file}: {err}") from err
    if entry.sha256 is None:
        _record(entry, folder, digest)
    return digest


def _receive(
    client: httpx.Client, entry: WeightEntry, part: Path, on_progress: Callable[[int, int | None], None]
) -> None:
    """Bring the part file up to the whole length."""
    have = part.stat().st_size if part.exists() else 0
    if entry.bytes is not None and have >= entry.bytes:
        return
    assert entry.url is not None, "checked by fetch: this is a bug"  # noqa: S101
    # The bytes as they lie on the server: a compressed answer could not be continued in the middle.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with client.stream("GET", entry.url, headers=headers) as response:
        if response.url.scheme != "https" and entry.url.startswith("https:"):
            raise FetchError(f"{entry.url} leads to {response.url.scheme}, which could be changed on its way")
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # the part is whole already; its hash will tell
        response.raise_for_status()
        resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
        done = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = entry.bytes or (done + int(length) if length else None)
        with part.open("ab" if resumed else "wb") as file:
            # Without a block size each piece is written as it comes, so that nothing received is lost.
            for block in response.iter_raw():
                file.write(block)
                done += len(block)
                on_progress(done, total)
            file.flush()
            os.fsync(file.fileno())
    if total is not None and done < total:
        raise FetchError(f"{entry.url} ended after {done:,} of {total:,} bytes; call again to continue")


def _checked(entry: WeightEntry, part: Path) -> str:
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if entry.sha256 is not None and digest != entry.sha256:
        part.unlink()
        raise FetchError(
            f"what {entry.url} gave has SHA-256 {digest} where {entry.sha256} is expected; it was deleted. "
            "Something on the way changed it, or the release did"
        )
    return digest


def _record(entry: WeightEntry, folder: Path, digest: str) -> None:
    """Note the hash of a file that was trusted on first use, so that it is checked from now on."""
    from pipeline.weights import LOCAL_FILE

    today = dt.datetime.now(dt.UTC).date().isoformat()
    lines = [
        "",
        "[[local]]",
        f'name = "{entry.name}"',
        f'kind = "{entry.kind.value}"',
        f'file = "{entry.file}"',
        f'sha256 = "{digest}"',
        f'architecture = "{entry.architecture}"',
        f'licence = "{entry.licence}"',
        f'label = "trusted on first use, {today}, from {entry.url}"',
        "",
    ]
    with (folder / LOCAL_FILE).open("a", encoding="utf-8") as file:
        file.write("\n".join(lines))
