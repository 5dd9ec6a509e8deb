"""What the built-in S3 server's proxy keeps in mind, and for how long."""

from __future__ import annotations

from typing import Any

from photomend.stack.swift_cache import MOST, Cache, filter_factory


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_is_known_until_its_time_is_over_or_it_changes() -> None:
    clock = Clock()
    cache = Cache(clock)
    cache.set("container/a/b", {"status": 204}, time=60.0)
    assert cache.get("container/a/b", raise_on_error=True) == {"status": 204}
    clock.now += 60.0
    assert cache.get("container/a/b") is None
    cache.set("container/a/b", {"status": 404}, time=6.0)
    cache.delete("container/a/b")
    cache.delete("container/a/b")
    assert cache.get("container/a/b") is None


def test_whoever_changes_what_it_got_changes_nothing_for_others() -> None:
    cache = Cache(Clock())
    cache.set("account/a", {"meta": {}}, time=60.0)
    cache.get("account/a")["meta"]["x"] = 1
    assert cache.get("account/a") == {"meta": {}}


def test_no_tokens_are_kept_and_nothing_for_ever() -> None:
    cache = Cache(Clock())
    cache.set("AUTH_/token/x", (1, "admin"), time=60.0)
    cache.set("account/a", {}, time=0)
    assert cache.get("AUTH_/token/x") is None
    assert cache.get("account/a") is None


def test_it_does_not_grow_without_end() -> None:
    clock = Clock()
    cache = Cache(clock)
    for number in range(MOST):
        cache.set(f"container/a/{number}", {}, time=1.0)
    clock.now += 0.5
    cache.set("container/a/next", {"n": 1}, time=60.0)
    assert len(cache._kept) == 1, "none had expired: all were forgotten"
    for number in range(MOST - 1):
        cache.set(f"container/a/{number}", {}, time=1.0)
    clock.now += 1.0
    cache.set("container/a/last", {}, time=1.0)
    assert len(cache._kept) == 2
    assert cache.get("container/a/next") == {"n": 1}


def test_every_request_has_the_same_cache() -> None:
    seen: list[Any] = []

    def app(environ: dict[str, Any], _: Any) -> list[bytes]:
        seen.append(environ["swift.cache"])
        return [b"answer"]

    cached = filter_factory({})(app)
    assert cached({}, None) == [b"answer"]
    assert cached({}, None) == [b"answer"]
    assert seen[0] is seen[1]
