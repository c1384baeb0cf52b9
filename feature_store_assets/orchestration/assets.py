"""One feature group as Dagster assets: the group itself, and its online copy."""

import inspect
import time
from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from typing import Any

import dagster as dg

from feature_store_assets.dagster_io.names import ALL
from feature_store_assets.dagster_io.partitions import dagster_partitions
from feature_store_assets.declaration.group import OWN_PARAMETERS, FeatureGroup, Window
from feature_store_assets.errors import FeatureStoreError, PartitionsRejected
from feature_store_assets.ingestion.gate import Admitted, Judged
from feature_store_assets.ingestion.partition_assignment import Slots
from feature_store_assets.offline.schema import PARTITION
from feature_store_assets.orchestration.checks import (
    check_specs,
    report,
    results,
    warnings_of,
)
from feature_store_assets.orchestration.freshness import freshness_policy
from feature_store_assets.orchestration.materialize import materialize
from feature_store_assets.orchestration.metadata import (
    column_lineage,
    column_schema,
    partition_metadata,
)
from feature_store_assets.store import FeatureStore

OpenStore = Callable[[], FeatureStore]
_ONLINE = "online"
_SAID = 10.0  # seconds between two lines on how far a publish is


def group_asset(
    group: FeatureGroup,
    open_store: OpenStore,
    *,
    columns: Mapping[str, set[str]],
    uri: str,
) -> dg.AssetsDefinition:
    """Return the asset that computes a group.

    Parameters
    ----------
    columns
        Known columns of upstream assets, by asset name.
    uri
        Where the table is.
    """
    definition = dagster_partitions(group.partitions)
    ins = {name: group.ins.get(name) or dg.AssetIn() for name in group.upstream}
    upstream = {name: _key(each, name) for name, each in ins.items()}
    known = {
        name: columns[key.to_user_string()]
        for name, key in upstream.items()
        if key.to_user_string() in columns
    }
    asset: dg.AssetsDefinition = dg.asset(
        name=group.name,
        ins=ins,
        partitions_def=definition,
        backfill_policy=None if definition is None else _policy(group),
        check_specs=check_specs(group, definition),
        io_manager_key="table_io",
        output_required=False,
        group_name=dict(group.tags).get("domain", "features").replace("-", "_").replace(".", "_"),
        kinds={"polars", "deltalake"},
        owners=list(group.owners),
        tags=dict(group.tags),
        description=group.description,
        code_version=_code_version(group),
        freshness_policy=freshness_policy(group),
        automation_condition=_automation(group),
        metadata={
            "dagster/column_schema": column_schema(group),
            "dagster/column_lineage": column_lineage(group, upstream, known),
            "dagster/uri": uri,
            "entity": group.entity.name,
            "version": group.version,
            "ttl": str(group.ttl) if group.ttl else "none",
        },
    )(_body(group, definition, open_store))
    return asset


def _key(given: dg.AssetIn, name: str) -> dg.AssetKey:
    key: dg.AssetKey | None = given.key
    return key or dg.AssetKey([name])


def _policy(group: FeatureGroup) -> dg.BackfillPolicy:
    """One run for a whole backfill, but key by key where a group reads its own past."""
    itself = group.name in group.upstream
    return dg.BackfillPolicy.multi_run(1) if itself else dg.BackfillPolicy.single_run()


def _automation(group: FeatureGroup) -> dg.AutomationCondition[Any] | None:
    """Ask for the newest partition at the group's times, once what it reads is there."""
    return None if group.cron is None else dg.AutomationCondition.on_cron(group.cron)


def _code_version(group: FeatureGroup) -> str:
    source = "" if group.function is None else inspect.getsource(group.function)
    return blake2b((group.hash + source).encode(), digest_size=8).hexdigest()


def _body(
    group: FeatureGroup, definition: Any, open_store: OpenStore
) -> Callable[..., Iterator[Any]]:
    """Return the asset's function; its signature is the author's, so Dagster sees the inputs."""
    function = group.function
    assert function is not None
    asked = inspect.signature(function).parameters

    def body(context: dg.AssetExecutionContext, **inputs: Any) -> Iterator[Any]:
        keys = list(context.partition_keys) if definition is not None else [ALL]
        extra = {"context": context} if "context" in asked else {}

        def compute(window: Window) -> Any:
            own = {"window": window} if "window" in asked else {}
            return function(**inputs, **own, **extra)

        with open_store() as store:
            admitted: Admitted | None = None
            before = 0
            for part in [[key] for key in keys] if group.per_partition else [keys]:
                slots = Slots.of(group, definition, part)
                context.log.info(
                    f"Computing {group.name} for {len(part)} partition(s), window "
                    f"{slots.window.start} to {slots.window.end}."
                )
                done, early = materialize(store, group, slots, compute, run_id=context.run.run_id)
                admitted, before = done if admitted is None else admitted + done, before + early
                if admitted.judged.rejected:
                    break
            assert admitted is not None
            judged, run = admitted.judged, context.run.run_id
            shown = {"rows_before_window": before, **report(store, group, judged, run)}
            store.alerts.add(*warnings_of(group, judged, run))
        yield from _record(context, group, admitted, shown)

    own = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    inputs = [each for each in asked.values() if each.name not in OWN_PARAMETERS]
    body.__signature__ = inspect.Signature([own, *inputs])  # type: ignore[attr-defined]  # read by Dagster
    body.__annotations__ = {each.name: each.annotation for each in inputs}
    body.__name__ = group.name
    return body


def _record(
    context: dg.AssetExecutionContext,
    group: FeatureGroup,
    admitted: Admitted,
    about_run: Mapping[str, Any],
) -> Iterator[Any]:
    """Tell Dagster what was committed and what was not.

    A materialization is yielded only if all went well: yielded beside a failure, Dagster would
    count the rejected partitions too.
    """
    judged = admitted.judged
    shown = {
        key: {
            **partition_metadata(part, group, judged.profiles[key], judged.references.get(key)),
            "table_version": admitted.version,
            **about_run,
        }
        for key, part in _parts(judged).items()
        if key in admitted.committed
    }
    yield from results(context, group, judged)
    if rejected := judged.rejected:
        for key, metadata in shown.items():
            context.log_event(
                dg.AssetMaterialization(context.asset_key, partition=key, metadata=metadata)
            )
        error: FeatureStoreError = PartitionsRejected(group.name, rejected, len(admitted.committed))
        raise dg.Failure(
            str(error),
            metadata={"quarantined": dg.MetadataValue.json(admitted.quarantined), **about_run},
            allow_retries=False,
        )
    if group.partitions is None:
        yield dg.MaterializeResult(metadata=shown[ALL])
        return
    for key, metadata in shown.items():
        context.add_asset_metadata(metadata, partition_key=key)
    yield dg.MaterializeResult()


def _parts(judged: Judged) -> dict[str, Any]:
    empty = judged.rows.clear()
    split = judged.rows.partition_by(PARTITION, as_dict=True, maintain_order=True)
    return {key: split.get((key,), empty) for key in judged.keys}


def online_asset(group: FeatureGroup, open_store: OpenStore) -> dg.AssetsDefinition:
    """Return the asset that publishes a group's partitions to the online store."""
    definition = dagster_partitions(group.partitions)

    @dg.asset(
        key=[_ONLINE, group.name],
        deps=[dg.AssetKey([group.name])],
        partitions_def=definition,
        backfill_policy=None if definition is None else dg.BackfillPolicy.single_run(),
        group_name=_ONLINE,
        kinds={"msgpack"},
        owners=list(group.owners),
        tags=dict(group.tags),
        description=f"The newest row of each {group.entity.name} of {group.name}, served online.",
    )
    def publish(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        keys = list(context.partition_keys) if definition is not None else [ALL]
        began = said = time.monotonic()
        rows = 0

        def told(put: int) -> None:
            nonlocal rows, said
            rows += put
            if time.monotonic() - said > _SAID:
                said = time.monotonic()
                context.log.info(f"Publishing {group.name}: {rows} rows so far.")

        with open_store() as store:
            applied = store.applied.group(group.name, group.version)
            done = store.publish(applied, keys, told=told)
        seconds = time.monotonic() - began
        context.log.info(
            f"Published {len(keys)} partition(s) of {group.name} in {seconds:.1f} s: "
            f"{done.written} rows written, {done.older} skipped as older, "
            f"{done.taken_back} taken back."
        )
        return dg.MaterializeResult(
            metadata={
                "rows_written": done.written,
                "rows_older": done.older,
                "rows_taken_back": done.taken_back,
                "tombstones": done.tombstones,
                "rows_held_back": done.held_back,
                "rows_per_second": (done.written + done.older) / seconds,
                "seconds": seconds,
                "table_version": done.version,
            }
        )

    return publish
