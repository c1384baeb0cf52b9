"""The routes that models wait for: ASGI as it is, in front of the framework.

Matching, dependency injection and validation layers cost more than reading features does.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

from feature_store_assets.server.errors import Problem, problem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from feature_store_assets.registry.actor import Actor
    from feature_store_assets.server.auth import Guard
    from feature_store_assets.server.metrics import Observer

# Of a body, and the name of whoever asks.
Answer = Callable[[bytes, str], Awaitable[bytes]]

_log = logging.getLogger(__name__)
_JSON = (b"content-type", b"application/json")
_MORE: Mapping[int, tuple[bytes, bytes]] = {
    HTTPStatus.UNAUTHORIZED: (b"www-authenticate", b"Bearer"),
    HTTPStatus.METHOD_NOT_ALLOWED: (b"allow", b"POST"),
}


class LeanRoutes:
    """Answers POST requests on a few paths; everything else goes to the app behind.

    Parameters
    ----------
    app
        The app behind.
    answers
        By path, what makes a body of JSON out of a request's body.
    guard
        Who may ask.
    observer
        Counts and times requests, if anyone does.
    largest
        Bytes that a request may have.
    """

    def __init__(
        self,
        app: ASGIApp,
        answers: Mapping[str, Answer],
        *,
        guard: Guard,
        observer: Observer | None,
        largest: int,
    ) -> None:
        self._app = app
        self._answers = dict(answers)
        self._guard = guard
        self._observer = observer
        self._largest = largest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self._answers.get(scope["path"]) if scope["type"] == "http" else None
        if answer is None:
            await self._behind(scope, _Limited(receive, self._largest), send)
            return
        start = time.perf_counter()
        route, status, headers = scope["path"], 200, [_JSON]
        try:
            who, asked = await self._asked(scope, receive)
            body = await answer(asked, who)
        except Gone:
            return
        except Exception as error:  # noqa: BLE001 - no client sees a stack trace
            told = self._failed(route, error)
            status, body = told.status_code, told.body
            if (more := _MORE.get(status)) is not None:
                headers.append(more)
        headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        if self._observer is not None:
            self._observer.answered(route, status, time.perf_counter() - start)

    async def _behind(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the app behind answer, and count what it answers."""
        if self._observer is None or scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), 0

        async def sent(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, sent)
        finally:
            if status:
                self._observer.answered(route_of(scope), status, time.perf_counter() - start)

    async def _asked(self, scope: Scope, receive: Receive) -> tuple[str, bytes]:
        """Who asks, and the body of the request, which may be answered."""
        if scope["method"] != "POST":
            raise Problem(HTTPStatus.METHOD_NOT_ALLOWED, "Ask by POST.")
        who = admit(self._guard, scope["headers"])
        return who.name, await read_body(scope, receive, self._largest)

    def _failed(self, route: str, error: Exception) -> Problem:
        told = problem(error)
        if told.status_code == HTTPStatus.INTERNAL_SERVER_ERROR:
            _log.error("%s failed.", route, exc_info=error)
        if self._observer is not None:
            self._observer.failed(route, error)
        return told


class _Limited:
    """What the app behind receives, up to so many bytes."""

    def __init__(self, receive: Receive, largest: int) -> None:
        self._receive = receive
        self._largest = largest
        self._size = 0

    async def __call__(self) -> Any:
        message = await self._receive()
        self._size += len(message.get("body", b""))
        if self._size > self._largest:
            raise _too_large(self._largest)
        return message


def route_of(scope: Scope) -> str:
    """The route that a request was for, as the API's document names it."""
    return getattr(scope.get("route"), "path", "other")


class Gone(Exception):
    """The client went away before its request was whole."""


def admit(guard: Guard, headers: list[tuple[bytes, bytes]]) -> Actor:
    """Return who asks; refuse whoever presents no valid token.

    Raises
    ------
    Problem
        401.
    """
    if guard.open:
        return guard.anyone
    authorization = api_key = None
    for name, value in headers:
        if name == b"authorization":
            authorization = value.decode("latin-1")
        elif name == b"x-api-key":
            api_key = value.decode("latin-1")
    actor = guard.admit(authorization, api_key)
    if actor is None:
        raise Problem(
            401,
            "Present a token: the header 'Authorization: Bearer <token>', or 'X-API-Key: <token>'. "
            "`feature-store token create NAME` makes one.",
        )
    return actor


async def read_body(scope: Scope, receive: Receive, largest: int) -> bytes:
    """The whole body of a request.

    Raises
    ------
    Problem
        413 as soon as it is known to be too large.
    Gone
        The client went away.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > largest:
            raise _too_large(largest)
    message: Any = await receive()
    body: bytes = message.get("body", b"")
    parts, size = [body], len(body)
    while message.get("more_body") and size <= largest:
        message = await receive()
        body = message.get("body", b"")
        parts.append(body)
        size += len(body)
    if message["type"] == "http.disconnect":
        raise Gone
    if size > largest:
        raise _too_large(largest)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(largest: int) -> Problem:
    return Problem(
        413,
        f"The request has more than {largest:,} bytes: ask in smaller parts, or raise "
        f"FEATURE_STORE_MAX_REQUEST_BYTES.",
    )


def decoded(decode: Callable[[bytes], Any], body: bytes) -> Any:
    """What a body of JSON says.

    Raises
    ------
    Problem
        400 if it is no JSON, 422 if it says something else than was asked.
    """
    try:
        return decode(body)
    except msgspec.ValidationError as error:
        raise Problem(422, f"The body does not fit: {error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, f"The body is no JSON: {error}.") from None
