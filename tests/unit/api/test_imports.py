"""What the API and the client bring into a process."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "numpy", "cv2", "pyvips", "facexlib", "basicsr", "realesrgan", "pipeline", "worker")


def modules_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_the_api_process_never_imports_the_gpu_stack():
    """Built, documented and answering: what it imports lazily counts as well."""
    found = modules_after(
        "import asyncio, httpx\n"
        "import api.__main__\n"
        "from api.settings import ApiSettings\n"
        "app = api.__main__.app(ApiSettings())\n"
        "async def ask(path):\n"
        "    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url='http://localhost') as c:\n"
        "        return (await c.get(path)).status_code\n"
        "assert [asyncio.run(ask(p)) for p in ('/livez', '/openapi.json', '/docs')] == [200, 200, 200]\n"
    )
    assert "fastapi" in found
    assert not found & set(HEAVY)


def test_importing_the_app_opens_nothing():
    modules_after(
        "import socket\n"
        "def refuse(*a, **k): raise AssertionError('a socket was opened')\n"
        "socket.socket.connect = refuse\n"
        "import api.__main__\n"
        "from api.settings import ApiSettings\n"
        "api.__main__.app(ApiSettings())"
    )


def test_the_client_needs_httpx_alone():
    found = modules_after("from photomend import Client\nClient()")
    assert "httpx" in found
    # httpx itself looks for rich and click, for a command of its own.
    assert not found & {*HEAVY, "fastapi", "pydantic", "redis", "boto3", "celery", "jobs", "api", "typer"}


def test_the_package_is_light_until_the_client_is_asked_for():
    assert "httpx" not in modules_after("import photomend")


def test_the_commands_are_listed_without_loading_what_they_run():
    found = modules_after("import photomend.cli")
    assert not found & {*HEAVY, "fastapi", "httpx", "redis", "boto3", "celery", "uvicorn"}


def test_a_name_that_the_package_does_not_have_is_an_ordinary_error():
    import photomend

    with pytest.raises(AttributeError, match="Klient"):
        _ = photomend.Klient
