"""Where the service is and which key it is shown, unless the caller says. The environment is read here alone."""

from __future__ import annotations

import os
from pathlib import Path

from photomend import DEFAULT_URL
from photomend.client.errors import PhotomendError


def chosen_url(url: str | None) -> str:
    """The address given, else ``PHOTOMEND_API_URL``, else where ``photomend up`` puts the service."""
    return url or os.environ.get("PHOTOMEND_API_URL") or DEFAULT_URL


def chosen_key(api_key: str | None) -> str | None:
    """The key given, else ``PHOTOMEND_API_KEY``, else the one in the file ``PHOTOMEND_API_KEY_FILE``, else none.

    Raises:
        PhotomendError: it is no key, and could not be sent; or there is no such file.
    """
    key = (api_key or os.environ.get("PHOTOMEND_API_KEY") or _key_in_file()).strip()
    if not all("!" <= character <= "~" for character in key):
        raise PhotomendError("The API key holds spaces or letters that no key has; is it a whole one, and only one?")
    return key or None


def _key_in_file() -> str:
    place = os.environ.get("PHOTOMEND_API_KEY_FILE")
    if not place:
        return ""
    try:
        return Path(place).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise PhotomendError(f"PHOTOMEND_API_KEY_FILE names {place}, which cannot be read.") from err
