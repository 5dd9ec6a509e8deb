"""Crash points: every effect that a process has on the world outside it, and how a process may end there.

The product holds no crash points. A ``Tap`` stands in front of a collaborator and strikes before or after one of its
calls; so "after" is the moment when the effect has happened and its author does not know.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Mode(StrEnum):
    """How a process ends at a crash point."""

    EXIT = "exit"  #: at once, without its clean-up
    SIGKILL = "sigkill"  #: by the kernel
    TAKEOVER = "stop-and-takeover"  #: it stops for longer than its lease, others take over, and it goes on
    EXCEPTION = "exception"  #: not at all: the call raises what nobody foresaw


class When(StrEnum):
    """On which side of the effect."""

    BEFORE = "before"
    AFTER = "after"


class Unforeseen(Exception):
    """Raised at a crash point: no error that the product knows."""


#: EXIT's status, which nothing else uses.
STATUS = 86


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One effect in one scenario."""

    who: str  #: api, worker, keeper, supervisor
    scenario: str  #: what is going on; see ``crash_host``
    effect: str  #: ``collaborator.method``
    nth: int = 1  #: which call of it

    def __str__(self) -> str:
        return f"{self.who} {self.scenario}: {self.effect}{f' #{self.nth}' if self.nth > 1 else ''}"


def _points(who: str, **scenarios: str) -> tuple[Point, ...]:
    found = []
    for scenario, effects in scenarios.items():
        seen: Counter[str] = Counter()
        for effect in effects.split():
            seen[effect] += 1
            found.append(Point(who=who, scenario=scenario, effect=effect, nth=seen[effect]))
    return tuple(found)


#: Every effect of every process, in the order in which a run has them. ``test_crash_points`` holds the list against the
#: ports, so that a new effect cannot be left out.
POINTS: tuple[Point, ...] = (
    *_points(
        "api",
        submits="store.submit",
        uploads="store.register_upload blobs.put store.submit",
        repeats="blobs.delete",  # the same file under the same key again: the second copy goes
    ),
    *_points(
        "worker",
        succeeds="store.publish_slots store.claim blobs.get store.beat blobs.put blobs.put store.commit",
        fails="store.fail",
        drains="store.release",
        obeys="store.canceled",
        cannot_store="blobs.delete store.release",
        leaves="store.withdraw_slots",
        runs_alone="store.claim_suspect store.commit",
        hands_back="store.hand_back",
    ),
    *_points(
        "keeper",
        feeds="store.nudged store.take messages.send",
        sends_again="store.overdue_sent messages.send",
        secludes="store.seclude",
        sweeps="store.lock store.sweep",
        expires="store.sweep store.expired_objects blobs.delete store.forget_objects",
        tells="store.due_callbacks posts.post store.callback_delivered",
        tells_in_vain="store.callback_failed",
        tells_a_busy_receiver="store.callback_held",
        tells_who_wants_no_more="store.callback_gone",
    ),
    *_points("supervisor", reads_an_exit="store.release_worker"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One crash."""

    point: Point
    when: When
    mode: Mode

    def __str__(self) -> str:
        return f"{self.point}, {self.when}, {self.mode}"


CASES: tuple[Case, ...] = tuple(
    Case(point=point, when=when, mode=mode) for point in POINTS for when in When for mode in Mode
)


class Crash:
    """Strikes once, at its case's point; ``on_strike`` is called first, in the process that is about to end."""

    def __init__(self, case: Case, on_strike: Callable[[], None]) -> None:
        self._case = case
        self._on_strike = on_strike
        self._calls: Counter[str] = Counter()
        self._is_over = False

    def tap(self, name: str, target: Any) -> Any:
        """``target`` behind a tap; typed as loosely as a proxy is."""
        return _Tap(name, target, self)

    def called(self, effect: str) -> int:
        self._calls[effect] += 1
        return self._calls[effect]

    def reach(self, effect: str, nth: int, when: When) -> None:
        case = self._case
        if self._is_over or (effect, nth, when) != (case.point.effect, case.point.nth, case.when):
            return
        self._is_over = True
        self._on_strike()
        if case.mode is Mode.EXIT:
            os._exit(STATUS)
        if case.mode is Mode.SIGKILL:
            os.kill(os.getpid(), signal.SIGKILL)
        elif case.mode is Mode.TAKEOVER:
            os.kill(os.getpid(), signal.SIGSTOP)
        else:
            raise Unforeseen(str(case))


class _Tap:
    def __init__(self, name: str, target: Any, crash: Crash) -> None:
        self._name = name
        self._target = target
        self._crash = crash

    def __getattr__(self, method: str) -> Any:
        found = getattr(self._target, method)
        if not callable(found):
            return found
        effect = f"{self._name}.{method}"

        def call(*args: Any, **words: Any) -> Any:
            nth = self._crash.called(effect)
            self._crash.reach(effect, nth, When.BEFORE)
            answer = found(*args, **words)
            self._crash.reach(effect, nth, When.AFTER)
            return answer

        return call
