"""One process of the Swift all-in-one, run as a script by :mod:`photomend.stack.swift`.

::

    swift_process.py rings ETC ACCOUNT_PORT CONTAINER_PORT OBJECT_PORT    writes the three rings and ends
    swift_process.py account|container|object|proxy ETC                   one server
    swift_process.py updaters ETC INTERVAL_S                              repairs listings, for ever

It is a separate program because Swift needs eventlet, which changes the process that imports it.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

LOOPBACK = "127.0.0.1"
#: The directory that plays the disk, and the name under which the rings know it.
DEVICE = "d1"
BACKENDS = ("account", "container", "object")


def write_rings(etc: Path, ports: dict[str, int]) -> None:
    """One replica on one device: every partition is there, whatever the port, so data survives a change of ports."""
    from swift.common.ring import RingBuilder

    for kind, port in ports.items():
        # 2**4 partitions, 1 replica, 1 hour between moves of a partition.
        builder = RingBuilder(4, 1, 1)
        place = {"ip": LOOPBACK, "port": port, "replication_ip": LOOPBACK, "replication_port": port}
        builder.add_dev({"id": 0, "region": 1, "zone": 1, "device": DEVICE, "weight": 1.0, **place})
        builder.rebalance()
        builder.get_ring().save(str(etc / f"{kind}.ring.gz"))


def serve(kind: str, etc: Path) -> None:
    """Run one server until SIGTERM."""
    conf = etc / f"{kind}-server.conf"
    sys.argv = [f"swift-{kind}-server", str(conf), "-v"]  # -v: log to stderr, which is our log file
    package = "obj" if kind == "object" else kind
    import_module(f"swift.{package}.server").main()


def update_for_ever(etc: Path, interval_s: float) -> None:
    """Bring late entries into the containers' listings.

    The containers' totals are not brought into the account's, which nobody here reads: Swift's updater for them opens
    the containers' databases beside their server and, under concurrent writes, holds a container's lock while it waits
    for SQLite's, so that every PUT waits until Swift's time-outs (20 small jobs took 28 s instead of 9).
    """
    from swift.common import utils

    # Swift's own updater programs look for swift.conf in /etc/swift only.
    utils.set_swift_dir(str(etc))
    utils.monkey_patch()
    import eventlet
    from swift.obj.updater import ObjectUpdater

    conf = utils.readconf(str(etc / "object-server.conf"), "object-updater")
    updater, disk = ObjectUpdater(conf), Path(conf["devices"]) / DEVICE
    while True:
        if is_late(disk):
            updater.run_once()
        eventlet.sleep(interval_s)


def is_late(disk: Path) -> bool:
    """Whether an entry waits to be brought in. A round of Swift forks a process: 0.1 s to see none."""
    return any(found.is_file() for late in disk.glob("async_pending*") for found in late.rglob("*"))


def main(words: list[str]) -> None:
    role, etc, *rest = words
    if role == "rings":
        write_rings(Path(etc), dict(zip(BACKENDS, map(int, rest), strict=True)))
    elif role == "updaters":
        update_for_ever(Path(etc), float(rest[0]))
    else:
        serve(role, Path(etc))


if __name__ == "__main__":
    main(sys.argv[1:])
