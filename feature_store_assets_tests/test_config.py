"""Settings: arguments, then variables, then defaults; a misspelt one is never ignored."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from feature_store_assets.config import FeatureStoreConfig, Route
from feature_store_assets.errors import ConfigError


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in list(os.environ):
        if variable.startswith("FEATURE_STORE_"):
            monkeypatch.delenv(variable)


def test_every_setting_has_a_default() -> None:
    assert FeatureStoreConfig().model_dump() == {
        "storage_backend": "delta",
        "storage_path": Path("data/feature_store"),
        "compression": "zstd",
        "partitioning_columns": ("year", "month"),
        "online_store_uri": None,
        "online_timeout_seconds": 0.2,
        "online_retries": 2,
        "online_write_rate": None,
        "enable_caching": False,
        "cache_ttl_seconds": 60.0,
        "cache_rows": 100_000,
        "serve_stale_seconds": 0.0,
        "registry_url": None,
        "max_parallel_operations": 2,
        "memory_limit": None,
        "retention_days": None,
        "time_travel_days": 30,
        "removal_grace_seconds": 30.0,
        "backup_target": None,
        "snapshot_keep_days": None,
        "snapshot_keep_last": None,
        "quarantine_retention_days": 90,
        "statistics_retention_days": 365,
        "usage_retention_days": 730,
        "notify": (),
        "alert_error_rate": 0.05,
        "api_tokens": (),
        "request_modules": (),
        "max_request_bytes": 10 << 20,
        "max_request_entities": 10_000,
        "enable_monitoring": True,
        "enable_lineage": True,
        "definitions": None,
    }
    assert FeatureStoreConfig().time_travel == timedelta(days=30)


def test_variables_come_before_defaults_and_arguments_before_variables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FEATURE_STORE_COMPRESSION", "snappy")
    monkeypatch.setenv("FEATURE_STORE_RETENTION_DAYS", "365")
    assert FeatureStoreConfig().compression == "snappy"
    assert FeatureStoreConfig().retention_days == 365
    assert FeatureStoreConfig(compression="gzip").compression == "gzip"


def test_memory_is_given_in_bytes_or_with_a_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURE_STORE_MEMORY_LIMIT", "4GB")
    assert FeatureStoreConfig().memory_limit == 4_000_000_000
    assert FeatureStoreConfig(memory_limit=1 << 30).memory_limit == 1 << 30
    with pytest.raises(ConfigError, match=r"'memory_limit': .*greater than or equal"):
        FeatureStoreConfig(memory_limit="1MB")


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURE_STORE_PARTITIONING_COLUMNS", "year, month,day,")
    monkeypatch.setenv("FEATURE_STORE_NOTIFY", "slack://a/b, mailto://c")
    config = FeatureStoreConfig()
    assert config.partitioning_columns == ("year", "month", "day")
    assert [route.url.get_secret_value() for route in config.notify] == [
        "slack://a/b",
        "mailto://c",
    ]
    assert FeatureStoreConfig(partitioning_columns=["year"]).partitioning_columns == ("year",)


def test_routes_of_alerts_are_urls_or_say_what_they_want(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "FEATURE_STORE_NOTIFY",
        """["mailto://c?to=a,b", {"url": "slack://a/b", "severity": "critical",
            "owners": ["team:growth"], "groups": ["spending"], "kinds": ["run", "quality"]}]""",
    )
    everything, some = FeatureStoreConfig().notify
    assert everything == Route(url=SecretStr("mailto://c?to=a,b"), severity="warning")
    assert some.url.get_secret_value() == "slack://a/b"
    assert (some.severity, some.owners, some.groups, some.kinds) == (
        "critical",
        ("team:growth",),
        ("spending",),
        ("run", "quality"),
    )
    given = ["mailto://c?to=a,b", some]
    assert FeatureStoreConfig(notify=given).notify == (everything, some)


def test_a_misspelt_setting_gets_a_suggestion() -> None:
    with pytest.raises(
        ConfigError, match=r"no setting 'storage_paht'. Did you mean 'storage_path'"
    ):
        FeatureStoreConfig(storage_paht="data")


def test_a_misspelt_variable_gets_a_suggestion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURE_STORE_STORAGE_PAHT", "data")
    with pytest.raises(
        ConfigError, match=r"FEATURE_STORE_STORAGE_PAHT. Did you mean 'FEATURE_STORE_STORAGE_PATH'"
    ):
        FeatureStoreConfig()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"storage_backend": "orc"}, "Setting 'storage_backend': .*'delta' or 'parquet'"),
        ({"compression": "zip"}, "Setting 'compression': .*'zstd'"),
        ({"max_parallel_operations": 0}, "Setting 'max_parallel_operations': .*1"),
        ({"retention_days": "soon"}, "Setting 'retention_days': .*integer"),
        ({"time_travel_days": 0}, "Setting 'time_travel_days'"),
        ({"partitioning_columns": ["yaer"]}, "Setting 'partitioning_columns.0': .*'year'"),
        ({"alert_error_rate": 5}, "Setting 'alert_error_rate': .*less than 1"),
        ({"notify": "[{"}, "Setting 'notify' is no JSON: .* at character 2"),
        ({"notify": "ann@example.org"}, "Setting 'notify.0.url': .*mailto://host"),
        ({"notify": [{}]}, "Setting 'notify.0.url': Field required"),
        ({"notify": [{"severity": "critcal"}]}, "'notify.0.severity': .*'critical', 'warning'"),
        (
            {"notify": ["a://b", {"url": "c://d", "severty": "info"}]},
            r"Setting 'notify\.1' has no key 'severty'\. Did you mean 'severity'\?",
        ),
        ({"notify": [{"url": "c://d", "kinds": ["drifts"]}]}, "'notify.0.kinds.0': .*'drift'"),
    ],
)
def test_a_wrong_value_is_told_with_what_is_right(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FeatureStoreConfig(**given)


def test_secrets_are_masked_wherever_settings_are_shown() -> None:
    config = FeatureStoreConfig(
        online_store_uri="redis://:hunter2@host",
        registry_url="postgresql+psycopg2://me:hunter2@host/db",
        notify=["slack://hunter2", {"url": "json://hunter2", "groups": ["g"]}],
    )
    for shown in (repr(config), str(config), f"{config}", config.model_dump_json()):
        assert "hunter2" not in shown
    assert config.online == "redis://:hunter2@host"
    assert config.registry == "postgresql+psycopg2://me:hunter2@host/db"
    with pytest.raises(ConfigError) as error:
        FeatureStoreConfig(online_store_uri=["redis://:hunter2@host"])
    assert "hunter2" not in str(error.value)
    unfit: list[Any] = [
        "hunter2",
        '["slack://hunter2",',
        [{"slack://hunter2": "info"}],
        [{"url": ["slack://hunter2"]}],
        [{"url": "slack://hunter2", "severity": "hunter2"}],
    ]
    for notify in unfit:
        with pytest.raises(ConfigError) as error:
            FeatureStoreConfig(notify=notify)
        assert "hunter2" not in str(error.value)


def test_settings_do_not_change() -> None:
    config: Any = FeatureStoreConfig()
    with pytest.raises(ValueError, match="frozen"):
        config.compression = "gzip"


def test_a_relative_path_counts_from_the_project_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "workspace.yaml").touch()
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert FeatureStoreConfig(storage_path="data").root == tmp_path / "data"
    assert FeatureStoreConfig(storage_path="/data").root == Path("/data")


def test_without_a_project_it_counts_from_the_working_directory_of_its_first_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = FeatureStoreConfig(storage_path="data")
    assert config.root == tmp_path / "data"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert config.root == tmp_path / "data"


def test_registry_and_online_store_lie_inside_the_data_root() -> None:
    config = FeatureStoreConfig(storage_path="/data")
    assert config.registry == "sqlite:////data/registry.db"
    assert config.online == "lmdb:///data/online"


def test_a_token_itself_is_no_setting() -> None:
    with pytest.raises(ConfigError, match="SHA-256") as caught:
        FeatureStoreConfig(api_tokens="ci=hunter2")
    assert "hunter2" not in str(caught.value)
    digest = "0" * 64
    kept = FeatureStoreConfig(api_tokens=f"ci={digest}, app={digest}")
    assert kept.api_tokens == (f"ci={digest}", f"app={digest}")
