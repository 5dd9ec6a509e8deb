"""Probes: /livez says that the process answers, /readyz that what it needs answers too."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fastapi import APIRouter

from api.openapi import problems
from api.problems import Problem
from api.schemas import HealthView
from api.service import Here
from jobs.errors import JobsError

router = APIRouter(tags=["health"])


@router.get("/livez", summary="Is the process alive?", response_model=HealthView, responses=problems())
def livez() -> dict[str, str]:
    """Touches nothing else: a broken Redis must not make an orchestrator restart healthy processes."""
    return {"status": "alive"}


@router.get("/readyz", summary="Can it take jobs?", response_model=HealthView, responses=problems("not_ready"))
def readyz(service: Here) -> dict[str, Any]:
    """Asks the job store and the object storage; says which of them does not answer."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        asked = {"store": pool.submit(_check, service.store.ping), "storage": pool.submit(_check, service.blobs.ping)}
        checks = {name: answer.result() for name, answer in asked.items()}
    silent = [name for name, answer in checks.items() if answer != "ok"]
    if silent:
        raise Problem("not_ready", f"No answer from {' and '.join(silent)}.", more={"checks": checks})
    return {"status": "ready", "checks": checks}


def _check(ping: Callable[[], None]) -> str:
    try:
        ping()
    except JobsError as err:
        return err.public
    return "ok"
