"""Settings of a store: arguments, then `FEATURE_STORE_*` variables, then defaults."""

import json
import logging
import os
import re
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from feature_store_assets.errors import ConfigError, suggestion

_log = logging.getLogger(__name__)

_PREFIX = "FEATURE_STORE_"
_TOKEN = re.compile(r"[\w.-]+=[0-9a-f]{64}", re.ASCII)
_LISTS = ("partitioning_columns", "notify", "api_tokens", "request_modules")

Severity = Literal["critical", "warning", "info"]
AlertKind = Literal["quality", "drift", "freshness", "run", "serving"]


class Route(BaseModel):
    """A place that alerts go to, and which ones; empty lists take all.

    Parameters
    ----------
    url
        An Apprise URL, or `dry-run://`, which only logs.
    severity
        The least.
    owners, groups, kinds
        Only what one of these owns, only about these groups, only these kinds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: SecretStr
    severity: Severity = "warning"
    owners: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    kinds: tuple[AlertKind, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _of_url(cls, given: Any) -> Any:
        return {"url": given} if isinstance(given, str | SecretStr) else given

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: SecretStr) -> SecretStr:
        if not re.match(r"[a-z][a-z0-9.+-]*://", url.get_secret_value(), re.IGNORECASE):
            message = "write an Apprise URL, such as mailto://host?from=...&to=... or dry-run://"
            raise ValueError(message)
        return url


class FeatureStoreConfig(BaseSettings):
    """Where a store lives and how it behaves.

    In the environment a list is separated by commas, or JSON.

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
    removal_grace_seconds
        How long retention waits between taking partitions out of tables and removing their files:
        reads that began before go on. Longer ones begin again by themselves.
    snapshot_keep_days, snapshot_keep_last
        Snapshots that are older, and not among the newest so many of a group, are deleted by
        retention; None keeps them. Those with a tag `keep`, a legal hold or a model stay.
    quarantine_retention_days, statistics_retention_days, usage_retention_days
        How long retention keeps rejected partitions, the statistics of partitions that hold no
        rows any more, and counts of who read what; None keeps them.
    backup_target
        Where `backup_job` backs the store up to if it is not told: a folder outside the data root,
        or a URL such as `s3://bucket/folder`; by default `<data root>-backups`.
    notify
        Where alerts go to: Apprise URLs, or `{"url", "severity", "owners", "groups", "kinds"}`
        for a place that wants only some, see `Route`.
    alert_error_rate
        The share of a server process's answers within a minute, probes left out, above which
        errors (5xx) are an alert; 0 turns it off.
    request_modules
        Modules, or packages with all that is in them, whose functions request-time features may
        run, even where an archive, a backup or another registry brought the view. Functions of
        views that this store's own `apply` recorded may always run.
    api_tokens
        Who may use the HTTP server, beside the tokens in the registry: `name=<SHA-256 of the
        token in hex>`.
    max_request_bytes, max_request_entities
        The largest body, and the most entities of one read, that the HTTP server takes.
    enable_monitoring
        Whether the HTTP server counts and times what it does, at `/metrics`.
    enable_lineage
        Whether models are recorded, and snapshots, training sets and models told to Dagster.
        Without it questions about lineage are answered from what is applied.
    definitions
        The module, or the Python file, whose Dagster definitions lineage is read from; by default
        what `workspace.yaml` of the project root names, if it is there.
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
    removal_grace_seconds: float = Field(default=30, ge=0)
    backup_target: str | None = None
    snapshot_keep_days: int | None = Field(default=None, ge=1)
    snapshot_keep_last: int | None = Field(default=None, ge=1)
    quarantine_retention_days: int | None = Field(default=90, ge=1)
    statistics_retention_days: int | None = Field(default=365, ge=1)
    usage_retention_days: int | None = Field(default=730, ge=1)
    notify: Annotated[tuple[Route, ...], NoDecode] = ()
    alert_error_rate: float = Field(default=0.05, ge=0, lt=1)
    api_tokens: Annotated[tuple[str, ...], NoDecode] = ()
    request_modules: Annotated[tuple[str, ...], NoDecode] = ()
    max_request_bytes: ByteSize = Field(default=ByteSize(10 << 20), ge=1 << 10)
    max_request_entities: int = Field(default=10_000, ge=1)
    enable_monitoring: bool = True
    enable_lineage: bool = True
    definitions: str | None = None

    @field_validator("api_tokens")
    @classmethod
    def _check_tokens(cls, tokens: tuple[str, ...]) -> tuple[str, ...]:
        if not all(_TOKEN.fullmatch(token) for token in tokens):
            message = "write name=<SHA-256 of the token, 64 hex digits>, not the token itself"
            raise ValueError(message)
        return tokens

    @field_validator("request_modules")
    @classmethod
    def _check_modules(cls, modules: tuple[str, ...]) -> tuple[str, ...]:
        if not all(part.isidentifier() for name in modules for part in name.split(".")):
            message = "name modules as Python imports them, such as shop.features"
            raise ValueError(message)
        return modules

    @classmethod
    def settings_customise_sources(
        cls, *_: Any, **sources: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return sources["init_settings"], sources["env_settings"]

    def __init__(self, **values: Any) -> None:
        known = sorted(type(self).model_fields)
        _refuse_unknown(known)
        for name in _LISTS:
            text = values.get(name, os.environ.get(_PREFIX + name.upper()))
            if isinstance(text, str):
                values[name] = _listed(name, text)
        try:
            super().__init__(**values)
        except ValidationError as error:
            problems = error.errors(include_input=False, include_url=False)
            raise ConfigError(" ".join(_told(each, known) for each in problems)) from None

    @cached_property
    def root(self) -> Path:
        """The data root as an absolute path; a later change of directory does not move it."""
        return (
            self.storage_path
            if self.storage_path.is_absolute()
            else self.project / self.storage_path
        )

    @cached_property
    def project(self) -> Path:
        """The project root: the nearest folder upwards with a `workspace.yaml`, else this one."""
        return _project()

    @property
    def dagster_home(self) -> Path | None:
        """Dagster's home: `DAGSTER_HOME`, else the project's `.dagster_home`; None without one."""
        home = Path(os.environ.get("DAGSTER_HOME") or self.project / ".dagster_home")
        return home if home.is_dir() else None

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


def _listed(name: str, text: str) -> tuple[Any, ...]:
    if not text.lstrip().startswith("["):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    try:
        return tuple(json.loads(text))
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"Setting '{name}' is no JSON: {error.msg} at character {error.pos}."
        ) from None


def _told(problem: Any, known: list[str]) -> str:
    """Say what is wrong with a setting, never what was given."""
    *outer, last = (str(part) for part in problem["loc"])
    if problem["type"] != "extra_forbidden":
        return f"Setting '{'.'.join([*outer, last])}': {problem['msg']}."
    if outer:
        # A secret may stand where a key belongs.
        shown = f" '{last}'" if last.isidentifier() else ""
        known = sorted(Route.model_fields)
        return f"Setting '{'.'.join(outer)}' has no key{shown}." + suggestion(last, known)
    return f"There is no setting '{last}'." + suggestion(last, known)


def _refuse_unknown(known: list[str]) -> None:
    """Refuse a misspelt variable: silently ignored, it would point a job at the wrong store."""
    names = [_PREFIX + name.upper() for name in known]
    for variable in os.environ:
        if variable.startswith(_PREFIX) and variable not in names:
            raise ConfigError(f"There is no setting {variable}." + suggestion(variable, names))


def _project() -> Path:
    here = Path.cwd()
    for folder in (here, *here.parents):
        workspace = folder / "workspace.yaml"
        if workspace.exists():
            if not (whose := foreign_owner(workspace)):
                return folder
            _log.warning("%s is left aside: %s.", workspace, whose)
    return here


def foreign_owner(path: Path) -> str:
    """Tell to whom a file or folder belongs, if neither to this user nor to root; else nothing.

    The same goes for a link and for what it leads to.
    """
    if not hasattr(os, "geteuid"):
        return ""
    me = os.geteuid()
    strangers = {found.st_uid for found in (path.lstat(), path.stat())} - {0, me}
    return f"it belongs to user {min(strangers)}, and you are user {me}" if strangers else ""
