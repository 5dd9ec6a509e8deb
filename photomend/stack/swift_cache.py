"""What Swift's proxy knows of accounts and buckets, kept in the proxy itself.

Without a cache each request asks two other servers whether its account and bucket exist, which costs as much as the
request; Swift's own cache wants a memcached. There is one proxy, which forgets what it changes, so nothing else can
make it wrong. Of objects nothing is kept.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from typing import Any

#: Beginnings of the keys that are kept: not those of tokens, which nobody is to have.
KEPT = ("account/", "container/")
#: Beyond so many buckets what has expired is looked for, and where that is nothing, all is forgotten.
MOST = 1000

App = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Cache:
    """As much of Swift's ``MemcacheRing`` as its proxy calls. Of one process and its event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        #: As JSON: whoever gets a value may change it.
        self._kept: dict[str, tuple[str, float]] = {}

    def get(self, key: str, **_: Any) -> Any:
        """None: it is not known, or not any more."""
        words, until = self._kept.get(key, ("null", 0.0))
        if self._clock() >= until:
            self._kept.pop(key, None)
            return None
        return json.loads(words)

    def set(self, key: str, value: Any, *, time: float = 0, **_: Any) -> None:
        """Keep it for so long (seconds); for no time, which memcached takes for ever, not at all."""
        if not key.startswith(KEPT) or time <= 0:
            return
        if len(self._kept) >= MOST:
            now = self._clock()
            self._kept = {name: entry for name, entry in self._kept.items() if entry[1] > now}
            if len(self._kept) >= MOST:
                self._kept.clear()
        self._kept[key] = (json.dumps(value), self._clock() + time)

    def delete(self, key: str, **_: Any) -> None:
        self._kept.pop(key, None)


def filter_factory(_global: dict[str, str], **_: str) -> Callable[[App], App]:
    """For the proxy's configuration."""
    cache = Cache()

    def with_cache(app: App) -> App:
        def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            environ["swift.cache"] = cache
            return app(environ, start_response)

        return answer

    return with_cache
