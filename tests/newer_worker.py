"""The fake restorer's app as a next version would have it: it reads a form of record that today's does not know."""

from __future__ import annotations

import jobs.codec
import jobs.store

#: One more than today's.
FORM = jobs.codec.VERSION + 1

jobs.codec.VERSION = FORM
jobs.store.VERSION = FORM

from tests.fake_worker import app  # noqa: E402 - built with the above

__all__ = ["FORM", "app"]
