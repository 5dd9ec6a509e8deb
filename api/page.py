"""The page at /: plain files that come with the package; nothing is built, and nothing comes from elsewhere.

Whoever has the page has no rights yet: it holds no data, and what it asks of the API it asks with the visitor's key.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from api.problems import Problem
from api.service import Here, Service
from jobs.model import ObjectRef

logger = structlog.get_logger(__name__)

router = APIRouter(include_in_schema=False)

_FOLDER = Path(__file__).with_name("static")
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


@router.get("/")
async def page(request: Request, service: Here) -> Response:
    """The page itself."""
    return await _answer(request, service, "index.html")


@router.get("/static/{name}")
async def file(request: Request, service: Here, name: str) -> Response:
    """Its styles, scripts and icon."""
    return await _answer(request, service, name)


async def _answer(request: Request, service: Service, name: str) -> Response:
    known = _files()
    if name not in known:
        raise Problem("not_found")
    data, etag = known[name]
    storage = await run_in_threadpool(storage_origin, service)
    headers = {
        "ETag": etag,
        # Asked each time, answered by 304: an upgrade never leaves half of the old page.
        "Cache-Control": "no-cache",
        "Content-Security-Policy": policy(storage),
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    }
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(data, headers=headers, media_type=_TYPES[Path(name).suffix])


def policy(storage: str | None) -> str:
    """Content-Security-Policy: our own files and the storage where pictures are, and nothing else."""
    where = f" {storage}" if storage else ""
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:{where}; "
        f"connect-src 'self'{where}; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    )


def storage_origin(service: Service) -> str | None:
    """Where presigned URLs lead: signing one is the way to know that holds for every storage. None: it has no keys."""
    found = service.origin.get("storage")
    if found is None:
        try:
            url = service.blobs.presign_get(ObjectRef(bucket=service.settings.bucket, key="-"))
        except Exception as err:  # noqa: BLE001 # whatever boto3 lacks, the page without pictures is better than none
            logger.warning("no address of the storage for the page", error=str(err))
            return None
        parts = urlsplit(url)
        found = service.origin["storage"] = f"{parts.scheme}://{parts.netloc}"
    return found


@cache
def _files() -> dict[str, tuple[bytes, str]]:
    """Each file's bytes and ETag, read once: a handful of kilobytes."""
    found = {}
    for path in _FOLDER.iterdir():
        if path.suffix in _TYPES:
            data = path.read_bytes()
            found[path.name] = (data, f'"{hashlib.sha256(data).hexdigest()[:32]}"')
    return found
