"""Where the service is and which key it is shown, unless the caller says. The environment is read here alone."""

from __future__ import annotations

import os

from photomend import DEFAULT_URL
from photomend.client.errors import PhotomendError


def chosen_url(url: str | None) -> str:
    """The address given, else ``PHOTOMEND_API_URL``, else where ``photomend up`` puts the service."""
    return url or os.environ.get("PHOTOMEND_API_URL") or DEFAULT_URL


def chosen_key(api_key: str | None) -> str | None:
    """The key given, else ``PHOTOMEND_API_KEY``, else none.

    Raises:
        PhotomendError: it is no key, and could not be sent.
    """
    key = (api_key or os.environ.get("PHOTOMEND_API_KEY") or "").strip()
    if not all("!" <= character <= "~" for character in key):
        raise PhotomendError("The API key holds spaces or letters that no key has; is it a whole one, and only one?")
    return key or None
