"""A Prometheus of our own, out of Debian's package, that scrapes every second and is asked over its API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from photomend.stack.ports import LOOPBACK, free_ports
from photomend.stack.probe import answers_ok
from photomend.stack.process import Child
from tests.tools import tool

READY_S = 60.0


class QueryRefused(Exception):
    """Raised when Prometheus does not answer a query; says the query and Prometheus' own words."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One series of an answer; points are (Unix time in s, value), NaN included."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]


class Asked:
    """Prometheus' HTTP API, as far as panels and alerts need it.

    Source: https://prometheus.io/docs/prometheus/latest/querying/api/
    """

    def __init__(self, client: httpx.Client, *, scrape_s: int) -> None:
        """``client``'s base URL ends in ``/api/v1``; ``scrape_s``: how often the server scrapes."""
        self._client, self.scrape_s = client, scrape_s

    def range(self, expr: str, *, start: float, end: float, step_s: int) -> list[Curve]:
        """What a panel would get.

        Raises:
            QueryRefused: Prometheus does not understand or answer it.
        """
        found = self._data("query_range", query=expr, start=start, end=end, step=step_s)
        return [
            Curve(one["metric"], tuple((float(at), float(value)) for at, value in one["values"]))
            for one in found["result"]
        ]

    def alerts(self) -> Any:
        """The rules as the server has them now, with the state and health of each."""
        return [rule for group in self._data("rules", type="alert")["groups"] for rule in group["rules"]]

    def _data(self, what: str, **params: Any) -> Any:
        answer = self._client.get(f"/{what}", params=params).json()
        if answer["status"] != "success":
            raise QueryRefused(f"{params.get('query', what)}: {answer['error']}")
        return answer["data"]


@contextmanager
def prometheus(
    folder: Path, targets: Mapping[str, str], *, rules: Path | None = None, scrape_s: int = 1
) -> Iterator[Asked]:
    """A running server with its data in ``folder``; ``targets`` are ``host:port`` by the name of a scrape job.

    Raises:
        FileNotFoundError: there is no Prometheus here.
        ServerFailed: it does not start.
    """
    binary, port = tool("prometheus"), free_ports(1)[0]
    words: dict[str, Any] = {
        "global": {"scrape_interval": f"{scrape_s}s", "evaluation_interval": f"{scrape_s}s"},
        "scrape_configs": [
            {"job_name": name, "static_configs": [{"targets": [target]}]} for name, target in targets.items()
        ],
    }
    if rules is not None:
        words["rule_files"] = [str(rules.resolve())]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(words))
    command = [
        binary,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={LOOPBACK}:{port}",
    ]
    child = Child("Prometheus", command, log=folder / "prometheus.log")
    try:
        child.wait_until(lambda: answers_ok(port, "/-/ready"), timeout_s=READY_S)
        with httpx.Client(base_url=f"http://{LOOPBACK}:{port}/api/v1", timeout=60) as client:
            yield Asked(client, scrape_s=scrape_s)
    finally:
        child.stop()
