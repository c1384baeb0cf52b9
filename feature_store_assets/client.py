"""`FeatureStoreClient`: features over HTTP, for services without the store's libraries."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self
from urllib.parse import quote
from weakref import WeakKeyDictionary

import msgspec

from feature_store_assets.errors import (
    ConfigError,
    DataError,
    FeatureStoreError,
    NotFound,
    StoreUnavailable,
    WriteRefused,
)
from feature_store_assets.json_values import WriteResult, reader, text_type, written

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    import httpx

_KINDS: dict[int, type[FeatureStoreError]] = {
    401: ConfigError,
    404: NotFound,
    409: WriteRefused,
    422: DataError,
}
_UNAVAILABLE = {502, 503, 504}  # a load balancer's, the server's, a load balancer's


class _Answer(msgspec.Struct):
    """Rows in the order of the entities, values in the order of the features."""

    features: list[str]
    types: list[str]
    values: list[list[Any]]
    statuses: list[str]
    event_timestamps: list[datetime | None]
    ages_seconds: list[float | None]
    stale: bool


class _Call(NamedTuple):
    """One request, and what reads its answer."""

    method: Literal["GET", "POST"]
    path: str
    read: Callable[[bytes], Any]
    body: bytes | None = None
    query: Mapping[str, Any] | None = None


class FeatureStoreClient:
    """Reads and writes features through `feature-store serve`; safe for threads.

    Method names, arguments and answers are those of `FeatureStore`.

    Parameters
    ----------
    url
        Where the server is, such as `http://features:6566`.
    token
        What it asks for, if it does: `feature-store token create NAME` makes one.
    timeout
        Seconds that connecting, or waiting for the answer, may take.

    Examples
    --------
    >>> with FeatureStoreClient("http://127.0.0.1:6566") as client:
    ...     client
    FeatureStoreClient('http://127.0.0.1:6566')
    """

    def __init__(self, url: str, token: str | None = None, *, timeout: float = 5.0) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._timeout = timeout
        self._client: httpx.Client | None = None
        self._making = Lock()
        # Connections belong to the event loop that they were made in.
        self._of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = (
            WeakKeyDictionary()
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        with self._making:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections, with those of the running event loop."""
        self.close()
        client = self._of_loops.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()

    def __repr__(self) -> str:
        return f"FeatureStoreClient('{self._shown}')"

    # Reading

    def get_online_features(
        self,
        feature_group: str | Sequence[str],
        entity_ids: Sequence[Any],
        features: Sequence[str] | None = None,
        *,
        at: datetime | None = None,
        include_status: bool = False,
    ) -> Any:
        """Read the newest features of entities.

        Parameters
        ----------
        feature_group
            The name of a view or group, or a list of `"group.feature"`.
        entity_ids
            Values of the one join key; tuples of several; or dicts by join key, as a view over
            groups with different keys needs them, and one with request values, which stand there
            too.
        features
            Only these.
        at
            Count ages from this instant instead of now; it does not travel in time.
        include_status
            Tell `{"values", "status", "event_timestamp", "age_seconds", "stale"}` of each entity.

        Returns
        -------
        `{entity: {feature: value}}`, or a list in the order asked where the entities are dicts.

        Raises
        ------
        NotFound, DataError
            There is no such name; or the entities do not fit.
        ConfigError
            The server asks for a (valid) token.
        StoreUnavailable
            The server, or its store, does not answer.
        """
        call = _reading(feature_group, entity_ids, features, at=at, status=include_status)
        return self._send(call)

    async def get_online_features_async(
        self,
        feature_group: str | Sequence[str],
        entity_ids: Sequence[Any],
        features: Sequence[str] | None = None,
        *,
        at: datetime | None = None,
        include_status: bool = False,
    ) -> Any:
        """The same without blocking the event loop."""
        call = _reading(feature_group, entity_ids, features, at=at, status=include_status)
        return await self._send_async(call)

    def groups(self) -> list[dict[str, Any]]:
        """Return what is known of every feature group, by name."""
        found: list[dict[str, Any]] = self._send(_Call("GET", "/v1/groups", msgspec.json.decode))
        return found

    def group(self, name: str) -> dict[str, Any]:
        """Return what is known of a feature group: its keys, features, types, owners, ...

        Raises
        ------
        NotFound
            No group has that name.
        """
        path = f"/v1/groups/{quote(name, safe='')}"
        found: dict[str, Any] = self._send(_Call("GET", path, msgspec.json.decode))
        return found

    def search(self, text: str) -> list[dict[str, Any]]:
        """Return the groups, views and features that every word is found in, the best first."""
        call = _Call("GET", "/v1/search", msgspec.json.decode, query={"q": text})
        found: list[dict[str, Any]] = self._send(call)
        return found

    # Writing

    def write_features(
        self,
        feature_data: Any,
        feature_group: str,
        mode: Literal["append", "upsert", "overwrite"] = "append",
        *,
        new_features: Literal["draft", "refuse"] = "refuse",
    ) -> WriteResult:
        """Write rows to a pushed group, and publish them.

        Parameters
        ----------
        feature_data
            A list of dicts, or a Polars or pandas frame: keys, event timestamp, features.
        feature_group
            Its name.
        mode
            `append` refuses to change stored facts, `upsert` writes newer revisions of them,
            `overwrite` replaces all rows.
        new_features
            `"draft"` makes draft features of columns that are not declared, and an unknown group
            with entity key `entity_id`.

        Raises
        ------
        WriteRefused, DataError
            Nothing was written.
        """
        result: WriteResult = self._send(_writing(feature_data, feature_group, mode, new_features))
        return result

    async def write_features_async(
        self,
        feature_data: Any,
        feature_group: str,
        mode: Literal["append", "upsert", "overwrite"] = "append",
        *,
        new_features: Literal["draft", "refuse"] = "refuse",
    ) -> WriteResult:
        """The same without blocking the event loop."""
        result: WriteResult = await self._send_async(
            _writing(feature_data, feature_group, mode, new_features)
        )
        return result

    # Asking

    def _send(self, call: _Call) -> Any:
        import httpx

        with self._making:
            if self._client is None:
                self._client = httpx.Client(**self._options())
            client = self._client
        try:
            response = client.request(
                call.method, self._url + call.path, content=call.body, params=call.query
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unreached(error) from error
        return self._told(response, call)

    async def _send_async(self, call: _Call) -> Any:
        import httpx

        loop = asyncio.get_running_loop()
        client = self._of_loops.get(loop)
        if client is None:
            client = self._of_loops[loop] = httpx.AsyncClient(**self._options())
        try:
            response = await client.request(
                call.method, self._url + call.path, content=call.body, params=call.query
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unreached(error) from error
        return self._told(response, call)

    def _options(self) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        return {"headers": headers, "timeout": self._timeout}

    @property
    def _shown(self) -> str:
        """The URL without a password."""
        scheme, separator, rest = self._url.rpartition("://")
        host, slash, path = rest.partition("/")
        return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"

    def _unreached(self, error: Exception) -> FeatureStoreError:
        import httpx

        if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
            return ConfigError(
                f"'{self._shown}' is no URL of a feature server: write http://host:port."
            )
        late = isinstance(error, httpx.TimeoutException)
        reason = f"no answer within {self._timeout:g} s" if late else str(error)
        return StoreUnavailable(
            f"The feature server at {self._shown} does not answer "
            f"({reason or type(error).__name__}). Start it with `feature-store serve`, or give "
            f"FeatureStoreClient its URL."
        )

    def _told(self, response: httpx.Response, call: _Call) -> Any:
        """What the answer says, or the error that it tells of."""
        status = response.status_code
        if response.is_success:
            try:
                return call.read(response.content)
            except (msgspec.DecodeError, ValueError):  # not ours
                raise self._foreign(status) from None
        if status in _UNAVAILABLE:
            reason = _detail(response) or f"HTTP {status}"
            raise StoreUnavailable(
                f"The feature server at {self._shown} cannot answer now: {reason}"
            )
        detail = _detail(response)
        if detail is None:
            raise self._foreign(status)
        if status == 401:  # noqa: PLR2004
            detail += f" Give it as FeatureStoreClient('{self._shown}', token)."
        raise _KINDS.get(status, FeatureStoreError)(detail)

    def _foreign(self, status: int) -> FeatureStoreError:
        return FeatureStoreError(
            f"What answers at {self._shown} (HTTP {status}) is no feature server of this "
            f"package's: check the URL, and the version of the server."
        )


def _detail(response: httpx.Response) -> str | None:
    """What the server says of a problem, None if it is not one of ours."""
    try:
        told = msgspec.json.decode(response.content, type=dict[str, str])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return told.get("detail")


def _encoded(asked: Mapping[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(asked)
    except (TypeError, OverflowError, UnicodeEncodeError):
        # Their messages may show a value.
        raise DataError(
            "There is a value that JSON cannot tell: give text, ints of at most 64 bits, floats, "
            "bools, dates, datetimes, None, and lists of these."
        ) from None


# Reading

_decode = msgspec.json.Decoder(_Answer).decode


def _reading(
    feature_group: str | Sequence[str],
    entity_ids: Sequence[Any],
    features: Sequence[str] | None,
    *,
    at: datetime | None,
    status: bool,
) -> _Call:
    asked: dict[str, Any] = {}
    if isinstance(feature_group, str):
        asked["group"] = feature_group
        asked["features"] = None if features is None else list(features)
    elif features is None:
        asked["features"] = list(feature_group)
    else:
        raise DataError("Features are named twice: in the list, and in 'features'. Name them once.")
    dicts = bool(entity_ids) and isinstance(entity_ids[0], Mapping)
    if not dicts and any(isinstance(each, Mapping | list) for each in entity_ids):
        raise DataError(
            "Entities are values of the one join key, or tuples of several; or all of them are "
            "dicts by join key."
        )
    asked["entities"] = [
        {name: written(value) for name, value in each.items()}
        if isinstance(each, Mapping)
        else written(each)
        for each in entity_ids
    ]
    if at is not None:
        asked["at"] = written(at)

    def read(body: bytes) -> Any:
        answer = _decode(body)
        told = _detailed(answer) if status else _values(answer)
        return told if dicts else dict(zip(entity_ids, told, strict=True))

    return _Call("POST", "/v1/online-features", read, _encoded(asked))


def _values(answer: _Answer) -> list[dict[str, Any]]:
    """A dict of values per entity."""
    for at, kind in enumerate(answer.types):
        if (typed := reader(kind)) is not None:
            for row in answer.values:
                row[at] = typed(row[at])
    return [dict(zip(answer.features, row, strict=True)) for row in answer.values]


def _detailed(answer: _Answer) -> list[dict[str, Any]]:
    """Values, status, event time, age and staleness per entity."""
    values, statuses, times = _values(answer), answer.statuses, answer.event_timestamps
    return [
        {
            "values": each,
            "status": status,
            "event_timestamp": time,
            "age_seconds": age,
            "stale": answer.stale,
        }
        for each, status, time, age in zip(
            values, statuses, times, answer.ages_seconds, strict=True
        )
    ]


# Writing


def _writing(feature_data: Any, feature_group: str, mode: str, new_features: str) -> _Call:
    rows = _rows(feature_data)
    types: dict[str, str] = {}
    for row in rows:
        for column, value in row.items():
            if (kind := text_type(value)) is not None:
                types[column] = kind
    body = {
        "group": feature_group,
        "rows": [{column: written(value) for column, value in row.items()} for row in rows],
        "mode": mode,
        "new_features": new_features,
        "types": types,
    }
    return _Call("POST", "/v1/push", msgspec.json.Decoder(WriteResult).decode, _encoded(body))


def _rows(data: Any) -> list[Mapping[str, Any]]:
    """Rows of a list, or of a Polars or pandas frame."""
    if hasattr(data, "to_dicts"):
        data = data.to_dicts()
    elif hasattr(data, "to_dict"):
        # NaN and NaT are what pandas writes for null.
        data = data.astype(object).where(data.notna(), None).to_dict(orient="records")
    if not isinstance(data, list) or not all(isinstance(row, Mapping) for row in data):
        raise DataError("Give a list of dicts, one per row, or a Polars or pandas frame.")
    return data
