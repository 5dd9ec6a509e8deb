"""The front door: command line, Python client, local stack. Importing it is light."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from photomend.client import AsyncClient as AsyncClient
    from photomend.client import Client as Client

__version__ = "0.1.0"
__all__ = ["DEFAULT_URL", "AsyncClient", "Client"]

#: Where `photomend up` and `photomend api` put the service unless told otherwise.
DEFAULT_URL = "http://127.0.0.1:8080"


def __getattr__(name: str) -> Any:
    # httpx is imported when the client is asked for, not by every `photomend --help`.
    if name in {"AsyncClient", "Client"}:
        from photomend import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
