"""Every effect that a process has on the outside, times every way to end there: no promise is broken by any of them."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from photomend.stack.errors import ServerMissing
from photomend.stack.redis import RedisServer
from tests import services
from tests.faults.crashes import LEASE_S, start_host
from tests.faults.crashing import CASES, POINTS, Case
from worker import aftermath, callbacks, feeder, keeper, node, run, slots, sweeper

HOSTS = 2  #: as many as the machine that runs the tests has cores
#: Calls of the ports that change nothing outside: a process that ends there ends between two effects.
READS = {"store.slots", "store.counts", "messages.depth"}
#: The API has the store itself and no port; these are what a submit does.
API_EFFECTS = {"store.submit", "store.register_upload"}
PORTS: dict[str, tuple[type, ...]] = {
    "store": (
        run.Store,
        node.NodeStore,
        slots.SlotBoard,
        feeder.Backlogs,
        feeder.Nudges,
        sweeper.Records,
        callbacks.Outbox,
        keeper.Locks,
        aftermath.HeldJobs,
    ),
    "blobs": (run.Blobs, sweeper.Objects),
    "messages": (feeder.Messages,),
    "posts": (callbacks.Posts,),
}


class Hosts:
    """Processes that run the chosen cases between them, ahead of the tests that ask for the outcomes."""

    def __init__(self, urls: list[str], folder: Path, chosen: list[int]) -> None:
        self._outcomes: dict[int, dict[str, Any]] = {}
        self._hosts: dict[int, subprocess.Popen[str]] = {}
        for number, url in enumerate(urls):
            share = chosen[number :: len(urls)]
            self._hosts |= dict.fromkeys(share, start_host(url, folder / str(number), share))

    def outcome(self, index: int) -> dict[str, Any]:
        while index not in self._outcomes:
            lines = self._hosts[index].stdout
            assert lines is not None
            line = lines.readline()
            assert line, "its host ended; see its log"
            outcome = json.loads(line)
            self._outcomes[outcome["index"]] = outcome
        return self._outcomes[index]

    def close(self) -> None:
        for host in set(self._hosts.values()):
            host.kill()
            host.communicate()


@pytest.fixture(scope="module")
def hosts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    chosen = [
        CASES.index(item.callspec.params["case"])
        for item in request.session.items
        if item.path == Path(__file__) and "case" in getattr(item, "callspec", _NOTHING).params
    ]
    folder = tmp_path_factory.mktemp("crashes")
    servers = [RedisServer(folder / f"redis{number}") for number in range(HOSTS)]
    try:
        for server in servers:
            server.start()
    except ServerMissing as err:
        services.missing(str(err))
    # A sweep ends no lease that is longer than Redis has been up.
    time.sleep(LEASE_S + 1)
    hosts = Hosts([server.url for server in servers], folder, chosen)
    yield hosts
    hosts.close()
    for server in servers:
        server.stop()


_NOTHING = SimpleNamespace(params=())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_no_promise_is_broken(hosts: Hosts, case: Case) -> None:
    outcome = hosts.outcome(CASES.index(case))
    assert outcome["struck"], "the fault struck"
    assert outcome["broken"] == []


def test_the_list_has_every_effect_of_every_port() -> None:
    """Whoever gives a port a new method has to say what becomes of a process that ends there."""
    methods = {
        f"{name}.{method}"
        for name, ports in PORTS.items()
        for port in ports
        for method in vars(port)
        if not method.startswith("_")
    }
    listed = {point.effect for point in POINTS}
    assert methods - READS <= listed, "not listed"
    assert listed - methods <= API_EFFECTS, "listed, and nobody has it"
