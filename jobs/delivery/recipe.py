"""What a result is made by, as one hash: with the source's checksum it says whether a result is the one that is wanted.

Everything in it can be told from a provenance file alone, so that a result proves by itself what it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

#: Of a job's options, those that decide where results go and not what is in them.
NAMING = frozenset({"suffix"})


def recipe_sha256(options: Mapping[str, Any], weights: Mapping[str, str]) -> str:
    """SHA-256, in hexadecimal, of the options and the weights that make a result.

    Args:
        options: every option in JSON words, resolved where ``auto`` left a choice to the machine.
        weights: network → SHA-256 of its weights.
    """
    wanted = {name: value for name, value in options.items() if name not in NAMING}
    text = json.dumps(
        {"options": wanted, "weights": dict(weights)}, sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    return hashlib.sha256(text.encode()).hexdigest()
