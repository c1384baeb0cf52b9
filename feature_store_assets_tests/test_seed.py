"""The calls of the project's founding document, as its readers type them."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from feature_store_assets import FeatureStore, FeatureStoreConfig, FeatureType
from feature_store_assets_tests.servers import tcp_server


@pytest.fixture
def config(tmp_path: Path) -> Iterator[FeatureStoreConfig]:
    (tmp_path / "redis").mkdir()
    with tcp_server(tmp_path / "redis") as port:
        yield FeatureStoreConfig(
            # Storage settings
            storage_backend="parquet",
            storage_path=tmp_path / "data/feature_store",
            compression="snappy",
            partitioning_columns=["year", "month"],
            # Online store
            online_store_uri=f"redis://localhost:{port}",
            cache_ttl_seconds=3600,
            # Performance
            max_parallel_operations=10,
            enable_caching=True,
            # Features
            enable_lineage=True,
            enable_monitoring=True,
            retention_days=365,
        )


def people(age: str, country: str) -> pd.DataFrame:
    yesterday = datetime.now().astimezone() - timedelta(days=1)
    return pd.DataFrame(
        {
            "entity_id": ["user_1", "user_2", "user_3"],
            "event_timestamp": [yesterday] * 3,
            age: [25, 34, 42],
            country: ["US", "UK", "CA"],
        }
    )


@pytest.mark.filterwarnings("ignore:'demographics' did not declare")
def test_basic_operations_and_online_serving(config: FeatureStoreConfig) -> None:
    df = people("user_age", "user_country")
    with FeatureStore(config=config) as store:
        metadata = store.register_feature(
            name="user_age",
            description="User age in years",
            feature_type=FeatureType.NUMERICAL,
            data_type="integer",
            feature_group="demographics",
            created_by="data_engineer",
        )
        assert (metadata.feature_id, metadata.dtype) == ("demographics.user_age", "int64")

        result = store.write_features(
            feature_data=df,
            feature_group="demographics",
            mode="append",
        )
        assert (result.rows_inserted, result.rows_updated, result.rows_duplicate) == (3, 0, 0)

        features = store.read_features(
            feature_group="demographics",
            features=["user_age", "user_country"],
            limit=1000,
        )
        assert features.to_pandas()["user_country"].tolist() == ["US", "UK", "CA"]

        online_features = store.get_online_features(
            feature_group="demographics",
            entity_ids=["user_1", "user_2", "user_3"],
            features=["user_age", "user_country"],
        )
        assert online_features == {
            "user_1": {"user_age": 25, "user_country": "US"},
            "user_2": {"user_age": 34, "user_country": "UK"},
            "user_3": {"user_age": 42, "user_country": "CA"},
        }

        stats = store.compute_feature_statistics(
            feature_group="demographics",
            features=["user_age", "user_country"],
        )
        assert (stats["user_age"]["count"], stats["user_age"]["maximum"]) == (3, 42.0)

        validation = store.validate_feature_quality(
            feature_group="demographics",
            quality_rules={
                "max_missing_percentage": 5.0,
                "min_unique_values": 2,
                "max_outlier_percentage": 3.0,
            },
        )
        assert validation["overall_passed"] is True

        lineage: dict[str, Any] = store.get_feature_lineage(
            feature_id="user_age",
            direction="both",
            depth=3,
        )
        assert lineage

        impact: dict[str, Any] = store.analyze_impact(
            feature_id="user_age",
            change_type="schema_change",
        )
        assert impact


def test_the_pipelines_of_training_and_inference(config: FeatureStoreConfig) -> None:
    rows = people("age", "country").assign(income=[1.0, 2.0, 3.0])
    with FeatureStore(config=config) as store:
        for name, kind in (("age", "integer"), ("country", "string"), ("income", "float")):
            store.register_feature(name, feature_group="user_features", data_type=kind)
        store.write_features(rows, "user_features")

    def train_model() -> int:
        with FeatureStore(config=config) as store:
            features = store.read_features(
                feature_group="user_features",
                start_time=datetime.now() - timedelta(days=90),  # noqa: DTZ005  # local time
            )
            quality_check = store.validate_feature_quality("user_features")
            if not quality_check["overall_passed"]:
                raise ValueError("Feature quality validation failed")
            snapshot_id = store.create_feature_snapshot(
                feature_group="user_features",
                snapshot_name=f"training_{datetime.now().strftime('%Y%m%d')}",  # noqa: DTZ005
                description="Training dataset snapshot",
                created_by="ml_pipeline",
            )
            pinned = store.read_features("user_features", as_of=snapshot_id)
            assert pinned.to_arrow() == features.to_arrow()
            return len(features)

    def predict(user_ids: list[str]) -> Any:
        with FeatureStore(config=config) as store:
            return store.get_online_features(
                feature_group="user_features",
                entity_ids=user_ids,
                features=["age", "country", "income"],
            )

    assert train_model() == 3
    assert predict(["user_2"]) == {"user_2": {"age": 34, "country": "UK", "income": 2.0}}
