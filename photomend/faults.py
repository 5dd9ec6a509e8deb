"""Wrong settings as sentences for the person at the terminal."""

from __future__ import annotations

import sys


def wrong_settings(err: ValueError) -> list[str]:
    """A sentence for each setting that is not valid; none where that is not what happened."""
    # Whoever has it not installed reads no settings either.
    if "pydantic" not in sys.modules:
        return []
    from pydantic import ValidationError

    if not isinstance(err, ValidationError) or not err.title.endswith("Settings"):
        return []
    # Without the value: it may be a secret.
    return [
        f"The setting PHOTOMEND_{'_'.join(map(str, fault['loc'])).upper()} is not valid: {fault['msg']}."
        for fault in err.errors(include_input=False, include_url=False)
    ]
