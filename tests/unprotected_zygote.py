"""The hostile zygote on a kernel without seccomp and Landlock: what the resource limits hold alone. For tests only."""

from __future__ import annotations

from tests.hostile_zygote import decode
from worker.sandbox import confine, zygote

if __name__ == "__main__":
    confine.probe = lambda: confine.Protections(seccomp=False, landlock=False)
    zygote.main(decode)
