"""``photomend api``: the HTTP API alone."""

from __future__ import annotations

from typing import Annotated

import typer


def api(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on [default: PHOTOMEND_API_HOST, 127.0.0.1]")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on [default: PHOTOMEND_API_PORT, 8080]")
    ] = None,
) -> None:
    """Serve the HTTP API: takes jobs, tells about them, hands out results.

    Needs Redis (PHOTOMEND_REDIS_URL) and S3-compatible storage (PHOTOMEND_S3_ENDPOINT_URL); a keeper and a worker do
    the jobs. `photomend up` starts all of it on one machine.

    On loopback no key is needed, and whoever shows none is the tenant `local`. On every other address callers need
    one (`photomend keys create`), and it does not start before somebody has one. PHOTOMEND_SIGNING_SECRET must be set.

    Example: photomend api --host 127.0.0.1 --port 8080
    """
    from api.__main__ import serve
    from api.settings import ApiSettings

    said = {"api_host": host, "api_port": port}
    # Through the settings' own checks, which an update of a ready object would pass by.
    serve(ApiSettings.model_validate({name: value for name, value in said.items() if value is not None}))
