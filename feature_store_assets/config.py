"""Settings of a store: arguments, then `FEATURE_STORE_*` variables, then defaults."""

import os
import re
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ByteSize, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from feature_store_assets.errors import ConfigError, suggestion

_PREFIX = "FEATURE_STORE_"
_TOKEN = re.compile(r"[\w.-]+=[0-9a-f]{64}", re.ASCII)


class FeatureStoreConfig(BaseSettings):
    """Where a store lives and how it behaves.

    Parameters
    ----------
    storage_backend
        `delta` or `parquet`; both mean Parquet files in Delta tables.
    storage_path
        The data root. A relative path counts from the project root, the nearest folder upwards
        with a `workspace.yaml`, else from the working directory.
    compression
        The Parquet codec.
    partitioning_columns
        How tables of pushed groups are cut: year; year and month; or year, month and day.
    online_store_uri
        `lmdb://<path>` (by default inside the data root), `redis://`, `rediss://`, `unix://`,
        `redis+sentinel://` or `redis+cluster://`.
    online_timeout_seconds, online_retries
        How long Redis may take to answer one read, and how often a read whose connection broke is
        tried again. A read that times out is not.
    online_write_rate
        How many rows a second each process writes to Redis at most, in small portions, so that
        readers hardly wait; as fast as it goes by default. Readers of LMDB never wait.
    enable_caching, cache_ttl_seconds, cache_rows
        Keep rows read from Redis in memory: for how long, and how many at most. LMDB needs none.
    serve_stale_seconds
        How long after its time in the cache a row may still be served while Redis does not
        answer; such answers are marked stale.
    registry_url
        A SQLAlchemy URL; by default SQLite inside the data root.
    max_parallel_operations
        How many groups of one join are read side by side.
    memory_limit
        About how much memory a join may take beside its spine: bytes, or text such as `"4GB"`.
    retention_days
        For groups that declare no retention of their own; None keeps everything.
    time_travel_days
        How long superseded files stay readable by date.
    notify
        Apprise URLs that alerts go to, separated by commas in the environment.
    api_tokens
        Who may use the HTTP server, beside the tokens in the registry: `name=<SHA-256 of the
        token in hex>`, separated by commas in the environment.
    max_request_bytes, max_request_entities
        The largest body, and the most entities of one read, that the HTTP server takes.
    enable_monitoring
        Whether the HTTP server counts and times what it does, at `/metrics`.
    """

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, extra="forbid", frozen=True, hide_input_in_errors=True
    )

    storage_backend: Literal["delta", "parquet"] = "delta"
    storage_path: Path = Path("data/feature_store")
    compression: Literal["zstd", "snappy", "gzip", "lz4", "none"] = "zstd"
    partitioning_columns: Annotated[tuple[Literal["year", "month", "day"], ...], NoDecode] = (
        "year",
        "month",
    )
    online_store_uri: SecretStr | None = None
    online_timeout_seconds: float = Field(default=0.2, gt=0)
    online_retries: int = Field(default=2, ge=0)
    online_write_rate: int | None = Field(default=None, ge=1)
    enable_caching: bool = False
    cache_ttl_seconds: float = Field(default=60.0, gt=0)
    cache_rows: int = Field(default=100_000, ge=1)
    serve_stale_seconds: float = Field(default=0.0, ge=0)
    registry_url: SecretStr | None = None
    max_parallel_operations: int = Field(default=2, ge=1, le=64)
    memory_limit: ByteSize | None = Field(default=None, ge=1 << 26)
    retention_days: int | None = Field(default=None, ge=1)
    time_travel_days: int = Field(default=30, ge=1)
    notify: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    api_tokens: Annotated[tuple[str, ...], NoDecode] = ()
    max_request_bytes: ByteSize = Field(default=ByteSize(10 << 20), ge=1 << 10)
    max_request_entities: int = Field(default=10_000, ge=1)
    enable_monitoring: bool = True

    @field_validator("api_tokens")
    @classmethod
    def _check_tokens(cls, tokens: tuple[str, ...]) -> tuple[str, ...]:
        if not all(_TOKEN.fullmatch(token) for token in tokens):
            message = "write name=<SHA-256 of the token, 64 hex digits>, not the token itself"
            raise ValueError(message)
        return tokens

    def __init__(self, **values: Any) -> None:
        known = sorted(type(self).model_fields)
        _refuse_unknown(known)
        for name in ("partitioning_columns", "notify", "api_tokens"):
            text = values.get(name, os.environ.get(_PREFIX + name.upper()))
            if isinstance(text, str):
                values[name] = tuple(part.strip() for part in text.split(",") if part.strip())
        try:
            super().__init__(**values)
        except ValidationError as error:
            problems = []
            for each in error.errors(include_input=False, include_url=False):
                name = ".".join(str(part) for part in each["loc"])
                if each["type"] == "extra_forbidden":
                    problems.append(f"There is no setting '{name}'." + suggestion(name, known))
                else:
                    problems.append(f"Setting '{name}': {each['msg']}.")
            raise ConfigError(" ".join(problems)) from None

    @cached_property
    def root(self) -> Path:
        """The data root as an absolute path; a later change of directory does not move it."""
        return (
            self.storage_path if self.storage_path.is_absolute() else _project() / self.storage_path
        )

    @property
    def registry(self) -> str:
        """The registry's SQLAlchemy URL, secrets included."""
        if self.registry_url is not None:
            return self.registry_url.get_secret_value()
        return f"sqlite:///{self.root / 'registry.db'}"

    @property
    def online(self) -> str:
        """The online store's URI, secrets included."""
        if self.online_store_uri is not None:
            return self.online_store_uri.get_secret_value()
        return f"lmdb://{self.root / 'online'}"

    @property
    def time_travel(self) -> timedelta:
        return timedelta(days=self.time_travel_days)


def _refuse_unknown(known: list[str]) -> None:
    """Refuse a misspelt variable: silently ignored, it would point a job at the wrong store."""
    names = [_PREFIX + name.upper() for name in known]
    for variable in os.environ:
        if variable.startswith(_PREFIX) and variable not in names:
            raise ConfigError(f"There is no setting {variable}." + suggestion(variable, names))


def _project() -> Path:
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "workspace.yaml").exists():
            return folder
    return here
