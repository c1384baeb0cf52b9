"""Settings of a store: arguments, then `FEATURE_STORE_*` variables, then defaults."""

import os
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ByteSize, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from feature_store_assets.errors import ConfigError, suggestion

_PREFIX = "FEATURE_STORE_"


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
    registry_url: SecretStr | None = None
    max_parallel_operations: int = Field(default=2, ge=1, le=64)
    memory_limit: ByteSize | None = Field(default=None, ge=1 << 26)
    retention_days: int | None = Field(default=None, ge=1)
    time_travel_days: int = Field(default=30, ge=1)
    notify: Annotated[tuple[SecretStr, ...], NoDecode] = ()

    def __init__(self, **values: Any) -> None:
        known = sorted(type(self).model_fields)
        _refuse_unknown(known)
        for name in ("partitioning_columns", "notify"):
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
