"""The catalogue as pages for people: what there is, one group, one feature, one view.

They are made on the server and hold all they need: no script, and nothing from elsewhere.
"""

import base64
import hashlib
import logging
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.errors import FeatureStoreError
from feature_store_assets.lineage.graph import Graph, Node
from feature_store_assets.registry.search import Filters
from feature_store_assets.server.auth import Guard
from feature_store_assets.server.catalogue import filters
from feature_store_assets.server.drawing import around, draw, nearest
from feature_store_assets.server.errors import Problem
from feature_store_assets.server.page_lists import Item, Names, choices, found, overview
from feature_store_assets.server.page_models import feature_sheet, group_sheet, view_sheet
from feature_store_assets.store import FeatureStore

_TEMPLATES: Final = Path(__file__).with_name("templates")
_SHOWN: Final = 200
_LISTED: Final = 60
_APPLIED_SECONDS: Final = 5.0
_SECONDS: Final = 0.5
_AGAIN_SECONDS: Final = 60.0

_CODE: Final = re.compile(r"`([^`]+)`")

_log = logging.getLogger(__name__)


class Page(APIRoute):
    """A route that answers with a page."""


class Pages:
    """The pages of a store's catalogue.

    Parameters
    ----------
    guard
        Who may see them: whoever presents a token, also as the password of Basic authentication.
    """

    def __init__(self, store: FeatureStore, guard: Guard) -> None:
        self._store, self._guard = store, guard
        self._lineage = _Lineage(store)
        self._applied: tuple[list[FeatureGroup], list[FeatureView]] | None = None
        self._due = 0.0
        who = [Depends(self._admit)]
        self.router = APIRouter(route_class=Page, include_in_schema=False, dependencies=who)
        self.router.get("/")(self._index)
        self.router.get("/groups/{name}")(self._group)
        self.router.get("/features/{name}")(self._feature)
        self.router.get("/views/{name}")(self._view)

    def problem(self, request: Request, told: Problem) -> Response:
        """Say on a page why there is no other."""
        status, asked = told.status_code, str(next(iter(request.path_params.values()), ""))
        near: list[tuple[str, str | None]] = []
        if status == HTTPStatus.NOT_FOUND:
            with suppress(FeatureStoreError):
                near = self._names(request).near(asked)
        answer = _page(
            request, "problem.html", status, asked=asked, near=near, text=told.detail,
            phrase=HTTPStatus(status).phrase,
        )  # fmt: skip
        if status == HTTPStatus.UNAUTHORIZED:
            answer.headers["WWW-Authenticate"] = 'Basic realm="Feature store", charset="UTF-8"'
        return answer

    async def _admit(self, request: Request) -> None:
        if self._guard.open:
            return
        given = request.headers.get("authorization"), request.headers.get("x-api-key")
        if self._guard.admit(*given, browser=True) is None:
            raise Problem(
                HTTPStatus.UNAUTHORIZED,
                "Give a token as the password; the user name does not matter. "
                "`feature-store token create NAME` makes one.",
            )

    def _names(self, request: Request) -> Names:
        """Return what is applied, as it was at most five seconds ago: as what is served follows."""
        now = time.monotonic()
        if self._applied is None or now >= self._due:
            self._applied = self._store.groups(), self._store.applied.views()
            self._due = now + _APPLIED_SECONDS
        return Names(*self._applied, _base(request))

    def _index(
        self,
        request: Request,
        chosen: Annotated[Filters, Depends(filters)],
        q: Annotated[str, Query(max_length=200)] = "",
    ) -> Response:
        names = self._names(request)
        stages = self._store.stages.reader()
        asked = bool(q.strip()) or chosen != Filters()
        hits: list[Item] = []
        counted = 0
        if asked:
            all_hits = self._store.search(q, chosen)
            counted, hits = len(all_hits), found(all_hits[:_SHOWN], names, stages)
        return _page(
            request, "index.html", q=q, chosen=asdict(chosen), asked=asked, hits=hits,
            counted=counted, most=_SHOWN, lists=overview(names, stages), choices=choices(names),
            features=sum(len(each.features) for each in names.groups.values()),
        )  # fmt: skip

    def _group(self, request: Request, name: str) -> Response:
        return self._sheet(request, "group.html", group_sheet, name)

    def _feature(self, request: Request, name: str) -> Response:
        return self._sheet(request, "feature.html", feature_sheet, name)

    def _view(self, request: Request, name: str) -> Response:
        return self._sheet(request, "view.html", view_sheet, name)

    def _sheet(
        self,
        request: Request,
        template: str,
        sheet: Callable[[FeatureStore, str, Names], dict[str, Any]],
        name: str,
    ) -> Response:
        names = self._names(request)
        shown = sheet(self._store, name, names)
        return _page(request, template, **shown, lineage=self._drawn(shown["node"], names))

    def _drawn(self, node: Node, names: Names) -> dict[str, Any] | None:
        """Return the drawing and the lists of what surrounds a node; None without lineage."""
        graph = self._lineage.graph()
        if graph is None or node not in graph.owners:
            return None
        near = around(graph, node)
        svg, left_out = draw(near, names.of_node)
        sides = {
            side: [
                (each.kind.replace("_", " "), each.id, names.of_node(each))
                for each in nearest(nodes)
            ]
            for side, nodes in (("Upstream", near.upstream), ("Downstream", near.downstream))
        }
        return {
            "svg": Markup(svg),  # noqa: S704 - escaped there
            "left_out": left_out,
            "sides": {side: (each[:_LISTED], len(each)) for side, each in sides.items()},
            "traced": graph.source == "dagster",
        }


class _Lineage:
    """The lineage graph, read beside the requests: a code location takes seconds, or fails."""

    def __init__(self, store: FeatureStore) -> None:
        self._store = store
        self._worker = ThreadPoolExecutor(1, "lineage")
        self._lock = threading.Lock()
        self._reading: Future[Graph] | None = None
        self._known: Graph | None = None
        self._next = 0.0

    def _read(self) -> Graph:
        return self._store.lineage.graph()

    def graph(self) -> Graph | None:
        """Return the newest graph there is within half a second; None while there is none."""
        with self._lock:
            if self._reading is None and time.monotonic() >= self._next:
                self._reading = self._worker.submit(self._read)
            reading = self._reading
        if reading is None or not wait([reading], _SECONDS).done:
            return self._known
        with self._lock:
            if self._reading is reading:
                self._reading = None
                try:
                    self._known = reading.result()
                except Exception:  # noqa: BLE001 - the code of a location may raise anything
                    self._next = time.monotonic() + _AGAIN_SECONDS
                    _log.exception("Lineage could not be read; pages go without.")
            return self._known


def _base(request: Request) -> str:
    return str(request.scope.get("root_path", ""))


def _page(request: Request, template: str, status: int = 200, **shown: Any) -> HTMLResponse:
    environment, headers = _templates()
    page = environment.get_template(template).render(base=_base(request), status=status, **shown)
    return HTMLResponse(page, status, headers)


@cache
def _templates() -> tuple[Environment, dict[str, str]]:
    """Load the templates once, with the headers that allow their style and nothing else."""
    style = (_TEMPLATES / "style.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["style"] = Markup(style)  # noqa: S704 - our own
    environment.filters.update(moment=_moment, prose=_prose)
    return environment, {
        "Content-Security-Policy": (
            f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
            "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        ),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cache-Control": "private, no-cache",
    }


def _moment(moment: datetime | str) -> str:
    """Write an instant for people, to the minute."""
    instant = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return f"{instant:%Y-%m-%d %H:%M}"


def _prose(text: str) -> Markup:
    """Write a description; what stands in backticks is code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped here
