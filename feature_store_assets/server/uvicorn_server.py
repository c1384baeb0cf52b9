"""`feature-store serve`: the app in one process, or in several behind one port."""

import ipaddress
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from feature_store_assets.errors import ConfigError

_APP = "feature_store_assets.server.app:from_env"
_GRACE_SECONDS = 30
_BACKLOG = 2_048
# Longer than load balancers and clients keep an idle connection, or they would use a closed one.
_IDLE_SECONDS = 75
# Set before prometheus-client loads, which decides by it where its values live.
_MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"


def is_loopback(host: str) -> bool:
    """Whether an address is of this host alone.

    Examples
    --------
    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def serve(host: str, port: int, *, workers: int, tokens: bool) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are answered first.

    Parameters
    ----------
    workers
        Processes that share the port and nothing else; one that dies is replaced.
    tokens
        Whether clients need one. Without, only this host is served.

    Raises
    ------
    ConfigError
        Other hosts would be served without a token.
    """
    if not tokens and not is_loopback(host):
        raise ConfigError(
            f"No API token is known, so anyone who reaches {host} could read and write features. "
            f"Make one with `feature-store token create NAME`, or serve on 127.0.0.1."
        )
    if workers == 1:
        _run(host, port, workers)
        return
    with tempfile.TemporaryDirectory(prefix="feature_store_metrics") as folder:
        # A folder that was given outlives us, and would be counted on from.
        os.environ[_MULTIPROCESS] = str(Path(folder))
        _run(host, port, workers)


def _run(host: str, port: int, workers: int) -> None:
    import uvicorn

    # uvicorn raises the signal again after its last answer: without this it would end us.
    signal.signal(signal.SIGTERM, _ended)
    uvicorn.run(
        _APP,
        factory=True,
        host=host,
        port=port,
        workers=workers,
        backlog=_BACKLOG,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        timeout_keep_alive=_IDLE_SECONDS,
        log_level="warning",
    )


def _ended(*_: Any) -> None:
    sys.exit(0)
