"""The store's Lua on the clock of a simulation.

In operation every script asks Redis for the time (``now`` in ``jobs/lua/_common.lua``). Here, and nowhere else, the two
places that do so are replaced in the text, before a server of our own loads it: the time comes with the call, as one
argument more, which no script sees. Nothing of the product leads here.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from jobs import connection

#: What stands in the scripts, and by what it is replaced.
_ASKED = """local function now()
  local t = redis.call('TIME')
  return tonumber(t[1]) + tonumber(t[2]) / 1000000
end
"""
_TOLD = """local CLOCK = tonumber(table.remove(ARGV))
local function now() return CLOCK end
"""
_UPTIME = "tonumber(string.match(redis.call('INFO', 'server'), 'uptime_in_seconds:(%d+)'))"
#: Longer than any lease: this server does not restart.
_LONG = "86400"


@contextmanager
def told_the_time() -> Iterator[None]:
    """Within it, the store's scripts of this process take the time from their last argument.

    Raises:
        AssertionError: the scripts ask for the time in another way than this knows.
    """
    text, hashed = connection.script_text, connection.script_hash

    @functools.cache
    def clocked(name: str) -> str:
        found = text(name)
        assert found.count(_ASKED) == 1, f"{name}: `now` is not what it was"
        found = found.replace(_ASKED, _TOLD)
        if name == "sweep":
            assert found.count(_UPTIME) == 1, "the sweeper asks for the uptime in another way"
            found = found.replace(_UPTIME, _LONG)
        assert "'TIME'" not in found, f"{name} asks for the time by itself"
        return found

    @functools.cache
    def hash_of(name: str) -> str:
        return hashlib.sha1(clocked(name).encode(), usedforsecurity=False).hexdigest()

    connection.script_text, connection.script_hash = clocked, hash_of  # type: ignore[assignment]
    try:
        yield
    finally:
        connection.script_text, connection.script_hash = text, hashed
