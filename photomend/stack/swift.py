"""A real S3 server on one machine: OpenStack Swift with its S3 API, one replica, one device, on loopback.

Eventually consistent in its listings, as Swift is: GET and HEAD of a key are right at once, a listing may lag. So list
to find, never to prove absence. Source of the facts: services.md B. Linux only (extended attributes).
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from photomend.stack import private
from photomend.stack.errors import PortTaken, ServerFailed, ServerMissing
from photomend.stack.ports import LOOPBACK, free_ports, is_free
from photomend.stack.probe import answers_ok
from photomend.stack.process import Child

#: Ready in 1.4 s on an idle machine; tests share two cores with much else.
START_TIMEOUT_S = 60.0
PORT_ATTEMPTS = 5
#: How often late listing entries are brought in, s. They are rare: the object server waits for the container server.
UPDATE_INTERVAL_S = 5.0

#: Swift's simplest authentication calls it ``account:user``.
ACCESS_KEY = "test:tester"
REGION = "us-east-1"

_SCRIPT = Path(__file__).with_name("swift_process.py")
_SERVERS = ("account", "container", "object", "proxy")

_DEFAULTS = """[DEFAULT]
bind_ip = {host}
bind_port = {port}
bind_timeout = 2
workers = 0
user = {user}
swift_dir = {etc}
devices = {disks}
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
recon_cache_path = {cache}
log_level = WARNING
# Not a socket: keeps our lines out of the machine's syslog; they go to our own log file.
log_address = /dev/null
"""

_BACKEND = """
[pipeline:main]
pipeline = healthcheck {kind}-server

[filter:healthcheck]
use = egg:swift#healthcheck

[app:{kind}-server]
use = egg:swift#{kind}
"""

_OBJECT_EXTRA = """# A PUT waits this long for its entry in the listing; past it the updater brings it in later.
container_update_timeout = 10

[object-updater]
concurrency = 1
"""

# symlink is required by versioned_writes, and both by the S3 API.
_PROXY = """
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck cache listing_formats s3api tempauth copy bulk slo symlink versioned_writes proxy-server

[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
# Swift knows no CORS rules of buckets: these web pages may read and upload by presigned URLs.
cors_allow_origin = {origins}
allow_account_management = true

[filter:s3api]
use = egg:swift#s3api
cors_preflight_allow_origin = {origins}
location = {region}
s3_acl = false
dns_compliant_bucket_names = true
check_bucket_owner = false
min_segment_size = 5242880

[filter:tempauth]
use = egg:swift#tempauth
allow_account_management = true
user_{account}_{name} = {secret} .admin .reseller_admin

[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_versioned_writes = true
allow_object_versioning = true

[filter:catch_errors]
use = egg:swift#catch_errors

[filter:gatekeeper]
use = egg:swift#gatekeeper

[filter:healthcheck]
use = egg:swift#healthcheck

[filter:cache]
paste.filter_factory = photomend.stack.swift_cache:filter_factory

[filter:listing_formats]
use = egg:swift#listing_formats

[filter:copy]
use = egg:swift#copy

[filter:bulk]
use = egg:swift#bulk

[filter:slo]
use = egg:swift#slo

[filter:symlink]
use = egg:swift#symlink
"""  # noqa: E501

# The prefix and suffix are part of where every object lies: they stay the same for the life of the data.
_CLUSTER = """[swift-hash]
swift_hash_path_prefix = {prefix}
swift_hash_path_suffix = {suffix}

[storage-policy:0]
name = one-replica
policy_type = replication
default = yes
"""


class S3Server:
    """Swift's four servers and its updaters; data lies under ``root`` and is there again at the next start."""

    def __init__(self, root: Path, port: int | None = None, *, origins: Sequence[str] = ()) -> None:
        """``origins``: of web pages that may use presigned URLs, such as ``http://127.0.0.1:8080``."""
        self._origins = ",".join(origins)
        self.root = root.resolve()
        self._wanted_port = port
        self._port = port or 0
        self._children: list[Child] = []
        self._secret = ""

    @property
    def endpoint_url(self) -> str:
        return f"http://{LOOPBACK}:{self._port}"

    @property
    def access_key(self) -> str:
        return ACCESS_KEY

    @property
    def secret_key(self) -> str:
        return self._secret

    @property
    def region(self) -> str:
        return REGION

    @property
    def children(self) -> tuple[Child, ...]:
        """The processes, once started; if one ends, the server is no longer whole."""
        return tuple(self._children)

    def start(self) -> None:
        """Return when all four servers answer.

        Raises:
            ServerMissing: the swift package is not installed, or this is not Linux.
            PortTaken: the port that was asked for is in use.
            ServerFailed: a server ends at once or does not get ready.
        """
        _require_swift()
        self._lay_out()
        if self._wanted_port is not None and not is_free(self._wanted_port):
            raise PortTaken(f"port {self._wanted_port} is in use; choose another one for the S3 server")
        for attempt in range(1, PORT_ATTEMPTS + 1):
            try:
                self._launch()
            except ServerFailed as err:
                self.stop()
                lost_a_port = "Could not bind" in err.log_tail
                if not lost_a_port or attempt == PORT_ATTEMPTS:
                    raise
            else:
                return

    def stop(self) -> None:
        """Stop every process: the proxy first, so that no request is cut in the middle. Idempotent."""
        while self._children:
            self._children.pop().stop(grace_s=5.0)

    @property
    def _etc(self) -> Path:
        return self.root / "etc"

    def _lay_out(self) -> None:
        for folder in (self._etc, self.root / "disks" / "d1", self.root / "cache", self.root / "log"):
            folder.mkdir(parents=True, exist_ok=True)
        self._secret = private.keep(self._etc / "secret", secrets.token_hex(24))
        private.keep(
            self._etc / "swift.conf", _CLUSTER.format(prefix=secrets.token_hex(16), suffix=secrets.token_hex(16))
        )

    def _launch(self) -> None:
        backend_ports = free_ports(3)
        self._port = self._wanted_port or free_ports(1)[0]
        ports = dict(zip(_SERVERS, (*backend_ports, self._port), strict=True))
        for kind, port in ports.items():
            private.write(self._etc / f"{kind}-server.conf", self._conf(kind, port))
        rings = self._run("rings", *map(str, backend_ports))
        rings.wait_until(lambda: not rings.is_running, timeout_s=START_TIMEOUT_S)
        if rings.exit_status != 0:
            raise ServerFailed(f"Swift's rings could not be written (log: {rings.log})", log_tail=rings.tail())
        for kind in _SERVERS:
            self._children.append(self._run(kind))
        for child, port in zip(self._children, ports.values(), strict=True):
            child.wait_until(partial(answers_ok, port, "/healthcheck"), timeout_s=START_TIMEOUT_S)
        self._children.insert(0, self._run("updaters", str(UPDATE_INTERVAL_S)))

    def _run(self, role: str, *words: str) -> Child:
        # -P: the script's own folder holds a redis.py and a swift.py, which must not hide the packages.
        # -W: a strict setting in the environment must not turn eventlet's deprecation notice into an error.
        command = [sys.executable, "-P", "-W", "ignore", str(_SCRIPT), role, str(self._etc), *words]
        return Child(f"S3 ({role})", command, log=self.root / "log" / f"{role}.log")

    def _conf(self, kind: str, port: int) -> str:
        common = _DEFAULTS.format(
            host=LOOPBACK, port=port, user=_user(), etc=self._etc, disks=self.root / "disks", cache=self.root / "cache"
        )
        if kind == "proxy":
            account, name = ACCESS_KEY.split(":")
            return common + _PROXY.format(
                region=REGION, account=account, name=name, secret=self._secret, origins=self._origins
            )
        extra = _OBJECT_EXTRA if kind == "object" else ""
        return common + _BACKEND.format(kind=kind) + extra


def _require_swift() -> None:
    if sys.platform != "linux":
        raise ServerMissing("the built-in S3 server runs on Linux only; set PHOTOMEND_S3_ENDPOINT_URL to a server")
    if importlib.util.find_spec("swift") is None:
        raise ServerMissing(
            "no S3 server found: install photomend with its 'local' extra, or set PHOTOMEND_S3_ENDPOINT_URL to a server"
        )


def _user() -> str:
    """The name under which Swift is to run: ours.

    Raises:
        ServerFailed: this user has no name.
    """
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError as err:
        raise ServerFailed(f"the S3 server needs a user with a name; uid {os.getuid()} has none in passwd") from err
