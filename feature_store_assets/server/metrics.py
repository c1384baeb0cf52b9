"""What the server counts and times, for Prometheus."""

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    multiprocess,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from feature_store_assets.errors import DeclarationError, StoreUnavailable
from feature_store_assets.server.errors import Problem

if TYPE_CHECKING:
    from feature_store_assets.online.decode import Told
    from feature_store_assets.online.result import Found

MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0
_AGES = (1.0, 10.0, _MINUTE, 10 * _MINUTE, _HOUR, 6 * _HOUR, _DAY, 7 * _DAY, 30 * _DAY, 365 * _DAY)
_STATUSES = ("present", "expired", "missing")
_SIZES_SECONDS = 60.0
_PROBES = frozenset({"/health", "/ready", "/metrics"})
# One request in so many has its look-up timed and its rows' age told: both cost as much as all else
# that is counted.
_SAMPLED = 8

# When each series began says nothing here, and doubles their number.
disable_created_metrics()  # type: ignore[no-untyped-call]

REQUESTS = Counter("feature_store_requests", "HTTP requests answered.", ["route", "status"])
LATENCY = Histogram(
    "feature_store_request_seconds",
    "From a request's body to its answer.",
    ["route"],
    buckets=_SECONDS,
)
ERRORS = Counter(
    "feature_store_errors", "Requests that were not answered, by reason.", ["route", "error"]
)
READS = Histogram(
    "feature_store_online_read_seconds",
    "Looking up a request's rows, in the cache or the online store; of one request in eight.",
    ["owner"],
    buckets=_SECONDS,
)
ROWS = Counter(
    "feature_store_online_rows",
    "Rows asked for online: present, expired or missing.",
    ["group", "status"],
)
AGE = Histogram(
    "feature_store_feature_age_seconds",
    "Age of the oldest row of a group in a request that found one; of one request in eight.",
    ["group"],
    buckets=_AGES,
)
STALE = Counter(
    "feature_store_stale_answers",
    "Answers out of a cache past its time, as the online store did not answer.",
    ["owner"],
)
HITS = Counter("feature_store_cache_hits", "Rows found in the cache.")
MISSES = Counter("feature_store_cache_misses", "Rows that the cache did not have.")
PUSHED = Counter("feature_store_pushed_rows", "Rows written over HTTP.", ["group"])
MEMORY = Gauge(
    "feature_store_worker_resident_bytes",
    "Memory of each server process.",
    multiprocess_mode="liveall",
)

# The library takes any text, of which queries could name little.
_NAME = re.compile(r"[A-Za-z0-9_]+")
_Kind = Literal["counter", "gauge", "histogram"]
_own: dict[str, tuple[str, Any]] = {}


def metric(
    name: str,
    kind: _Kind = "counter",
    description: str = "",
    *,
    labels: Sequence[str] = (),
    buckets: Sequence[float] = Histogram.DEFAULT_BUCKETS,
) -> Any:
    """Return a metric of your own, to be seen beside the server's at `/metrics`.

    Parameters
    ----------
    name
        Shown as `business_<name>`. The same name gives the same metric again.
    kind
        `counter` (`.inc()`), `gauge` (`.set()`) or `histogram` (`.observe()`).
    labels
        Names of its labels; give their values by `.labels(model="v3")`.
    buckets
        Upper bounds of a histogram.

    Examples
    --------
    >>> offers = metric("offers_accepted", description="Offers taken.", labels=["model"])
    >>> offers.labels(model="v3").inc()
    """
    if name in _own:
        known, found = _own[name]
        if known != kind:
            raise DeclarationError(f"Metric '{name}' is a {known} already, not a {kind}.")
        return found
    kinds: dict[str, Callable[..., Any]] = {
        "counter": Counter,
        "gauge": Gauge,
        "histogram": Histogram,
    }
    if kind not in kinds:
        raise DeclarationError(f"A metric is a {', '.join(kinds)}, not a '{kind}'.")
    if not all(_NAME.fullmatch(each) for each in (name, *labels)):
        raise DeclarationError(
            f"Metric '{name}' cannot be: name it and its labels in letters, digits and '_'."
        )
    more = {"buckets": tuple(buckets)} if kind == "histogram" else {}
    try:
        made = kinds[kind](f"business_{name}", description or name, list(labels), **more)
    except ValueError as error:
        raise DeclarationError(f"Metric '{name}' cannot be: {error}.") from None
    _own[name] = (kind, made)
    return made


class Observer:
    """Counts and times requests; looking a metric's labels up each time would cost as much again.

    Parameters
    ----------
    caches
        Gives the hits and misses of this process so far.
    """

    def __init__(self, caches: Callable[[], tuple[int, int]]) -> None:
        self._caches = caches
        self._hits = self._misses = self._read = 0
        self._requests: dict[tuple[str, int], Any] = {}
        self._latency: dict[str, Any] = {}
        self._reads: dict[str, Any] = {}
        self._groups: dict[str, tuple[Any, ...]] = {}

    def answered(self, route: str, status: int, seconds: float) -> None:
        """One request was answered."""
        key = (route, status)
        requests = self._requests.get(key)
        if requests is None:
            requests = self._requests[key] = REQUESTS.labels(route, str(status))
            self._latency.setdefault(route, LATENCY.labels(route))
        requests.inc()
        self._latency[route].observe(seconds)

    def failed(self, route: str, error: Exception) -> None:
        """One request could not be answered."""
        if isinstance(error, Problem):  # or what it was made of
            reason = (
                type(error.__cause__).__name__ if error.__cause__ else f"HTTP {error.status_code}"
            )
        else:
            reason = type(error).__name__
        ERRORS.labels(route, reason).inc()

    def read(self, owner: str, found: "Found", seconds: float) -> None:
        """Rows were read for one request."""
        self._read += 1
        sampled = self._read % _SAMPLED == 1
        if sampled:
            reads = self._reads.get(owner)
            if reads is None:
                reads = self._reads[owner] = READS.labels(owner)
            reads.observe(seconds)
        for group, told in found.groups.items():
            self._count(group, told, found.moment if sampled else None)
        if found.stale:
            STALE.labels(owner).inc()
        hits, misses = self._caches()
        if hits != self._hits:
            HITS.inc(hits - self._hits)
            self._hits = hits
        if misses != self._misses:
            MISSES.inc(misses - self._misses)
            self._misses = misses

    def _count(self, group: str, told: "Told", moment: int | None) -> None:
        """Count a group's rows by status; given the moment, also tell how old they are."""
        counters = self._groups.get(group)
        if counters is None:
            counters = self._groups[group] = (
                *(ROWS.labels(group, status) for status in _STATUSES),
                AGE.labels(group),
            )
        present, expired, missing, age = counters
        there = told.statuses.count("present")
        if there:
            present.inc(there)
        if there < len(told.statuses):
            late = told.statuses.count("expired")
            expired.inc(late)
            missing.inc(len(told.statuses) - there - late)
        if moment is not None:
            times = [time for time in told.times if time is not None]
            if times:
                age.observe((moment - min(times)) / 1e6)


class Sizes(Collector):
    """Bytes on disk, looked up at most once a minute.

    Parameters
    ----------
    offline
        Gives each group's bytes.
    online
        Gives the online store's, None where it cannot tell.
    """

    def __init__(
        self, offline: Callable[[], Mapping[str, int]], online: Callable[[], int | None]
    ) -> None:
        self._offline = offline
        self._online = online
        self._found: list[Metric] = []
        self._due = 0.0

    def describe(self) -> Iterable[Metric]:
        return [self._by_group(), self._whole()]

    def collect(self) -> Iterator[Metric]:
        if time.monotonic() >= self._due:
            by_group, whole = self._by_group(), self._whole()
            # While a store does not answer, everything else is told.
            with suppress(StoreUnavailable):
                for group, size in self._offline().items():
                    by_group.add_metric([group], size)
            with suppress(StoreUnavailable):
                online = self._online()
                if online is not None:
                    whole.add_metric([], online)
            self._found = [by_group, whole]
            self._due = time.monotonic() + _SIZES_SECONDS
        yield from self._found

    @staticmethod
    def _by_group() -> GaugeMetricFamily:
        about = "Bytes of a group's newest table version."
        return GaugeMetricFamily("feature_store_offline_bytes", about, labels=["group"])

    @staticmethod
    def _whole() -> GaugeMetricFamily:
        return GaugeMetricFamily("feature_store_online_bytes", "Bytes of the online store.")


def exposition(sizes: Sizes) -> bytes:
    """All metrics in Prometheus' text form; of all workers where there are several."""
    folder = os.environ.get(MULTIPROCESS)
    if folder is None:
        registry = REGISTRY
        shown = CollectorRegistry()
        shown.register(sizes)
        return generate_latest(registry) + generate_latest(shown)
    for pid in _dead(Path(folder)):
        with suppress(FileNotFoundError):  # another worker was faster
            multiprocess.mark_process_dead(pid, folder)  # type: ignore[no-untyped-call]
    together = CollectorRegistry()
    multiprocess.MultiProcessCollector(together, folder)  # type: ignore[no-untyped-call]
    together.register(sizes)
    return generate_latest(together)


def _dead(folder: Path) -> set[int]:
    """Workers that left gauges behind."""
    pids = {int(path.stem.rpartition("_")[2]) for path in folder.glob("gauge_live*_*.db")}
    return {pid for pid in pids if not Path(f"/proc/{pid}").exists()}


def answers() -> tuple[int, int]:
    """How many requests of clients this process answered with an error of ours, and how many."""
    told = [
        sample
        for found in REQUESTS.collect()
        for sample in found.samples
        if sample.name.endswith("_total") and sample.labels["route"] not in _PROBES
    ]
    errors = sum(each.value for each in told if each.labels["status"].startswith("5"))
    return int(errors), int(sum(each.value for each in told))


def resident() -> int:
    """Bytes of memory that this process holds; 0 where the system does not tell as Linux does."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
