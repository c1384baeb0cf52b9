"""The server for tests: its app in an event loop, behind a real uvicorn, or in processes."""

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.types import ASGIApp
from tenacity import Retrying, retry_if_exception, wait_fixed

from feature_store_assets_tests.servers import free_port

ONLINE, FEAST, PUSH = "/v1/online-features", "/get-online-features", "/v1/push"
COMMAND = str(Path(sys.executable).with_name("feature-store"))


def ask(app: ASGIApp, method: str, path: str, **given: Any) -> httpx.Response:
    """One request to an app, as a client sees its answer."""

    async def asking() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            return await client.request(method, path, **given)

    return asyncio.run(asking())


def post(app: ASGIApp, path: str, body: Any, **given: Any) -> Any:
    """The JSON that a POST request of JSON is answered with."""
    answer = ask(app, "POST", path, json=body, **given)
    assert answer.status_code == 200, answer.text
    return answer.json()


@contextmanager
def listening(app: ASGIApp) -> Iterator[str]:
    """An app behind uvicorn in a thread; gives its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            # Connections wait in the backlog until it has started.
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def serving(
    root: Path, *options: str, log: Path, **variables: str
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """`feature-store serve` over a data root in a process of its own; gives it and its URL."""
    port = str(free_port())
    with log.open("wb") as told:
        child = subprocess.Popen(
            [COMMAND, "serve", "--port", port, *options],
            env={"PATH": "/usr/bin:/bin", "FEATURE_STORE_STORAGE_PATH": str(root), **variables},
            stdout=told,
            stderr=told,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        await_health(child, url)
        yield child, url
    finally:
        child.terminate()
        child.wait(40)


def await_health(child: subprocess.Popen[bytes], url: str) -> None:
    """Return when the server answers; it is asked until it does, as long as it runs."""

    def may_come(error: BaseException) -> bool:
        return isinstance(error, httpx.TransportError) and child.poll() is None

    asking = Retrying(wait=wait_fixed(0.1), retry=retry_if_exception(may_come), reraise=True)
    # One client for all: each reads the certificates of this machine.
    with httpx.Client() as client:
        asking(client.get, f"{url}/health")
