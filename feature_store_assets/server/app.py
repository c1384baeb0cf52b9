"""The HTTP API of a store, as an ASGI app."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.types import ASGIApp

from feature_store_assets.errors import FeatureStoreError
from feature_store_assets.online.cache import RowCache
from feature_store_assets.server import metrics
from feature_store_assets.server.auth import Guard
from feature_store_assets.server.catalogue import catalogue
from feature_store_assets.server.error_rate_alert import ErrorAlarm
from feature_store_assets.server.errors import Problem, problem
from feature_store_assets.server.fast_routes import LeanRoutes, admit, route_of
from feature_store_assets.server.feast import FeastFeatures
from feature_store_assets.server.online import OnlineFeatures
from feature_store_assets.server.openapi import LEAN, document
from feature_store_assets.server.page_routes import Page, Pages
from feature_store_assets.server.push import pushing
from feature_store_assets.store import FeatureStore

_ROUND_SECONDS = 1.0
_WATCH_SECONDS = 60.0

_log = logging.getLogger(__name__)


def from_env() -> ASGIApp:
    """The app of the store that `FEATURE_STORE_*` variables point at."""
    return create_app(FeatureStore.from_env())


def create_app(store: FeatureStore) -> ASGIApp:
    """The app of a store, which closes with it.

    Parameters
    ----------
    store
        What is served. The embedded LMDB must not have been opened before a fork.
    """
    store.serving.path = "http"
    guard = Guard.of(store)
    monitored = store.config.enable_monitoring
    observer = metrics.Observer(lambda: _cached(store)) if monitored else None

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(_rounds(guard))]
        if monitored and (limit := store.config.alert_error_rate):
            alarm = ErrorAlarm(limit, metrics.answers, store.alerts.add)
            tasks.append(asyncio.create_task(_watch(alarm)))
        yield
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await store.aclose()

    app = FastAPI(
        title="Feature store",
        version=version("feature_store_assets"),
        summary="The newest features of entities, and what there is to ask for.",
        lifespan=lifespan,
    )
    pages = Pages(store, guard)
    _tell_problems(app, observer, pages)
    who = [Depends(_guarded(guard))]
    app.include_router(catalogue(store), dependencies=who)
    app.include_router(pushing(store), dependencies=who)
    app.include_router(pages.router)
    _add_health(app, store)
    if monitored:
        _add_metrics(app, store)
    online = OnlineFeatures(store, observer)
    feast = FeastFeatures(store, online)
    answers = dict(zip(LEAN, (online.answer, feast.answer), strict=True))
    document(app)
    return LeanRoutes(
        app, answers, guard=guard, observer=observer, largest=store.config.max_request_bytes
    )


async def _rounds(guard: Guard) -> None:
    """What has to be done now and then: tokens may have changed, memory grown."""
    while True:
        if guard.due:
            try:
                await asyncio.to_thread(guard.refresh)
            except Exception:  # noqa: BLE001 - or no token could be taken back ever again
                _log.exception("Tokens could not be looked up.")
        metrics.MEMORY.set(metrics.resident())
        await asyncio.sleep(_ROUND_SECONDS)


async def _watch(alarm: ErrorAlarm) -> None:
    """Look at the error rate now and then; apart from the rounds, as the registry may be slow."""
    while True:
        await asyncio.sleep(_WATCH_SECONDS)
        try:
            await asyncio.to_thread(alarm.look)
        except Exception:  # noqa: BLE001 - or nothing could be told ever again
            _log.exception("The error rate could not be told.")


def _cached(store: FeatureStore) -> tuple[int, int]:
    rows = store.serving.rows
    return (rows.hits, rows.misses) if isinstance(rows, RowCache) else (0, 0)


def _guarded(guard: Guard) -> Callable[..., Awaitable[None]]:
    bearer = HTTPBearer(auto_error=False, description="A token.")
    key = APIKeyHeader(name="X-API-Key", auto_error=False, description="A token.")

    async def guarded(
        request: Request,
        _bearer: Annotated[Any, Depends(bearer)],
        _key: Annotated[Any, Depends(key)],
    ) -> None:
        request.state.actor = admit(guard, request.scope["headers"])

    return guarded


def _tell_problems(app: FastAPI, observer: metrics.Observer | None, pages: Pages) -> None:
    def told(request: Request, error: Exception) -> Response:
        answer = problem(error)
        if observer is not None:
            observer.failed(route_of(request.scope), error)
        if isinstance(request.scope.get("route"), Page):
            return pages.problem(request, answer)
        headers = (
            {"WWW-Authenticate": "Bearer"}
            if answer.status_code == HTTPStatus.UNAUTHORIZED
            else None
        )
        return Response(answer.body, answer.status_code, headers, "application/json")

    def unfit(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        if observer is not None:
            observer.failed(route_of(request.scope), error)
        # Without the values, which may be personal.
        problems = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        unread = any(each["type"] == "json_invalid" for each in error.errors())
        if isinstance(request.scope.get("route"), Page):
            return pages.problem(request, Problem(422, "; ".join(problems)))
        return JSONResponse({"detail": "; ".join(problems)}, 400 if unread else 422)

    app.add_exception_handler(FeatureStoreError, told)
    app.add_exception_handler(Problem, told)
    app.add_exception_handler(RequestValidationError, unfit)
    app.add_exception_handler(Exception, told)


def _add_health(app: FastAPI, store: FeatureStore) -> None:
    @app.get("/health", tags=["health"], summary="The process answers")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get(
        "/ready",
        tags=["health"],
        summary="The stores answer",
        responses={503: {"description": "A store does not answer."}},
    )
    def ready() -> dict[str, str]:
        store.serving.check()
        return {"status": "ready"}


def _add_metrics(app: FastAPI, store: FeatureStore) -> None:
    def online() -> int | None:
        return store.online.size()  # opened by whoever asks first, not here

    sizes = metrics.Sizes(store.sizes, online)

    @app.get("/metrics", tags=["health"], summary="For Prometheus", response_class=Response)
    def exposition() -> Response:
        return Response(metrics.exposition(sizes), media_type=metrics.CONTENT_TYPE)
