"""A zygote that gives memory back after two seconds without a picture. For tests only."""

from __future__ import annotations

from worker.sandbox import zygote

if __name__ == "__main__":
    zygote.IDLE_S = 2.0
    zygote.main()
