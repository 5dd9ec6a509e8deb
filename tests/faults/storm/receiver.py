"""A receiver of callbacks over real HTTP: notes each one, verifies its signature, and can be down."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from jobs.callbacks import tenant_secret
from jobs.model import TenantId
from photomend import webhooks
from tests.conftest import CALLBACK_SECRET
from tests.faults.history import Event, History

TENANTS = tuple(TenantId(name) for name in ("ann", "bob", "cy", "dee"))
#: A receiver of them all; the control's callbacks are signed with the installation's own secret.
SECRETS = [CALLBACK_SECRET, *(tenant_secret(CALLBACK_SECRET, tenant) for tenant in TENANTS)]


class Receiver:
    """On loopback, in threads of this process."""

    def __init__(self, history: History) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                # Raises where the signature is wrong: the sender then gets no answer, and the job no event.
                words = webhooks.verify(body, dict(self.headers.items()), SECRETS)
                status = 503 if receiver.is_down else 200
                receiver.refused += receiver.is_down
                facts = {"id": self.headers["webhook-id"], "type": words["type"], "status": status}
                history.note(Event.TOLD, words["data"]["id"], **facts)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                del format, args

        self.is_down = False
        self.refused = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="receiver", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.address}/hook"
