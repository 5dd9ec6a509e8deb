"""The Python client needs httpx and nothing else: a fresh interpreter that can import only that and what it brings."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: httpx's own requirements, without extras.
BRINGS = ("httpx", "httpcore", "anyio", "h11", "idna", "certifi", "sniffio", "typing_extensions")


def test_the_client_imports_and_works_with_httpx_alone(tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    for name in BRINGS:
        try:
            files = metadata.files(name) or ()
        except metadata.PackageNotFoundError:
            continue
        for top in {file.parts[0] for file in files if file.parts[0] not in {"..", "__pycache__"}}:
            if not (site / top).exists():
                (site / top).symlink_to(metadata.distribution(name).locate_file(top))
    (site / "photomend").symlink_to(ROOT / "photomend")
    code = (
        f"import sys; sys.path.insert(0, {str(site)!r})\n"
        "from photomend import AsyncClient, Client\n"
        "from photomend.client import Unreachable\n"
        "AsyncClient('http://127.0.0.1:9')\n"
        "try:\n    Client('http://127.0.0.1:9', retries=0).models()\n"
        "except Unreachable:\n    print('unreachable')\n"
        "import importlib.util\n"
        "print(*(name for name in ('rich', 'typer', 'pydantic', 'redis') if importlib.util.find_spec(name)))\n"
    )
    ran = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout.split()) == (0, ["unreachable"]), ran.stderr
