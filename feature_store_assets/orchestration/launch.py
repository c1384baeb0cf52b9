"""Runs started from the command line: `dagster asset materialize` in a child process."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from feature_store_assets.config import FeatureStoreConfig
from feature_store_assets.dagster_io import code_location
from feature_store_assets.errors import (
    DeclarationError,
    FeatureStoreError,
    GroupNotFound,
    NotFound,
    suggestion,
)
from feature_store_assets.registry.declarations import Declared

_ONLINE = "online/"
# Dagster's remarks on what is used on purpose: this very command, and single-run backfills.
_STDERR = 2
_EXPECTED_WARNINGS = (
    "ignore:Function `asset_materialize_command` is superseded",
    "ignore:Parameter `backfill_policy`",
)


@dataclass(frozen=True)
class Asked:
    """Which partitions: all up to now, or those from `first` to `last`; either may be open."""

    first: str | None = None
    last: str | None = None
    every: bool = False

    def of(self, name: str, keys: Sequence[str]) -> Sequence[str]:
        """Return the keys asked for, of an asset's keys in their order."""
        if not (self.first or self.last or self.every):
            raise FeatureStoreError(
                f"'{name}' is partitioned: give --partition KEY, --from KEY --to KEY, or --all."
            )
        if not keys:
            raise NotFound(f"'{name}' has no partitions yet: the first one is not over.")
        for key in (self.first, self.last):
            if key is not None and key not in keys:
                raise NotFound(
                    f"'{name}' has no partition '{key}'; its {len(keys)} go from '{keys[0]}' to "
                    f"'{keys[-1]}'." + suggestion(key, keys)
                )
        low, high = keys.index(self.first or keys[0]), keys.index(self.last or keys[-1])
        if low > high:
            raise FeatureStoreError(f"--from {self.first} comes after --to {self.last}.")
        return keys[low : high + 1]


@dataclass(frozen=True)
class Run:
    """One Dagster run: assets, and the first and last of their partitions ("" without)."""

    names: Sequence[str]
    first: str = ""
    last: str = ""

    def __str__(self) -> str:
        span = self.first if self.first == self.last else f"{self.first} to {self.last}"
        return ", ".join(self.names) + (f" for {span}" if span else "")

    @property
    def arguments(self) -> list[str]:
        """What `dagster asset materialize` is given."""
        select = ["--select", ",".join(self.names)]
        if not self.first:
            return select
        if self.first == self.last:
            return [*select, "--partition", self.first]
        return [*select, "--partition-range", f"{self.first}...{self.last}"]


def declared(module: str | None, file: Path | None) -> list[Declared]:
    """Return the groups and views of a code code_location."""
    found = code_location.declarations(_load(module, file))
    if not found:
        raise DeclarationError(
            "The definitions hold no feature groups: make them by build_definitions([...])."
        )
    return found


def plan(
    names: Sequence[str],
    asked: Asked,
    *,
    with_online: bool = True,
    module: str | None = None,
    file: Path | None = None,
) -> list[Run]:
    """Cut what is asked for into as few runs as Dagster can take, upstream first.

    Parameters
    ----------
    names
        Groups, or source assets.
    asked
        Which of their partitions.
    with_online
        Publish groups, too.
    module, file
        Where the definitions are; by default what workspace.yaml names.

    Raises
    ------
    NotFound
        There is no such group, or no such partition.
    """
    graph = _load(module, file).resolve_asset_graph()
    runs = []
    for batch, definition, whole in _batches(graph, _chosen(graph, names, with_online)):
        if definition is None:
            runs.append(Run(batch))
            continue
        keys = asked.of(batch[0], definition.get_partition_keys())
        spans = [(keys[0], keys[-1])] if whole else [(key, key) for key in keys]
        runs += [Run(batch, *span) for span in spans]
    if (asked.first or asked.last) and not any(run.first for run in runs):
        raise FeatureStoreError(f"{', '.join(names)} has no partitions: leave the option away.")
    return runs


def execute(
    runs: Sequence[Run],
    tell: Callable[[str], None],
    module: str | None,
    file: Path | None,
    *,
    apart: bool = False,
) -> int:
    """Run them one after the other.

    Parameters
    ----------
    apart
        Whether all that they print goes to standard error.

    Returns
    -------
    The exit code of the first that fails, else 0.
    """
    if module is None and file is None:
        module, file = code_location.from_workspace(Path("workspace.yaml"))
    target = ["-m", module] if module is not None else ["-f", str(file)]
    environment = dict(os.environ)
    home = FeatureStoreConfig().dagster_home
    if home is None:
        environment["DAGSTER_DISABLE_TELEMETRY"] = "yes"  # no dagster.yaml turns it off
        tell("There is no DAGSTER_HOME and no .dagster_home: the UI will not show the run.")
    else:
        environment["DAGSTER_HOME"] = str(home)
    quiet = [part for warning in _EXPECTED_WARNINGS for part in ("-W", warning)]
    command = [sys.executable, *quiet, "-m", "dagster", "asset", "materialize", *target]
    for number, run in enumerate(runs, 1):
        tell(f"Run {number} of {len(runs)}: {run}")
        started = time.monotonic()
        code = _wait([*command, *run.arguments], environment, _STDERR if apart else None)
        took = f"after {time.monotonic() - started:.1f} s"
        tell(f"Run {number} of {len(runs)} {'failed' if code else 'succeeded'} {took}.")
        if code:
            return code
    return 0


def _wait(command: Sequence[str], environment: dict[str, str], output: int | None) -> int:
    with subprocess.Popen(command, env=environment, stdout=output) as child:  # noqa: S603  # our own interpreter
        while True:
            try:
                code = child.wait()
            except KeyboardInterrupt:
                continue  # it reached the child as well, which records how the run ended
            return code if code >= 0 else 128 - code


def _load(module: str | None, file: Path | None) -> dg.Definitions:
    """Load definitions as `dagster dev` does: modules in the working directory are found."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    return code_location.load_definitions(module=module, file=file)


def _chosen(graph: Any, names: Sequence[str], with_online: bool) -> list[dg.AssetKey]:
    """Return the keys of the assets asked for and of their online copies, upstream first."""
    by_name = {key.to_user_string(): key for key in graph.materializable_asset_keys}
    wanted = set()
    for name in names:
        if name not in by_name:
            raise GroupNotFound(name, [each for each in by_name if not each.startswith(_ONLINE)])
        wanted.add(by_name[name])
        if with_online and _ONLINE + name in by_name:
            wanted.add(by_name[_ONLINE + name])
    return [key for key in graph.toposorted_asset_keys if key in wanted]


def _batches(graph: Any, keys: Sequence[dg.AssetKey]) -> Iterator[tuple[list[str], Any, bool]]:
    """Cut assets, upstream first, into sets that one run can take.

    Yields
    ------
    Their names, their partitions, and whether a range of these may be one run.
    """
    left = list(keys)
    while left:
        kind = _kind(graph, left[0])
        batch: list[str] = []
        later: list[dg.AssetKey] = []
        for key in left:
            if _kind(graph, key) == kind and not graph.get(key).parent_keys & set(later):
                batch.append(key.to_user_string())
            else:
                later.append(key)
        yield batch, *kind
        left = later


def _kind(graph: Any, key: dg.AssetKey) -> tuple[Any, bool]:
    """What the assets of one run share: partitions, and whether a range may be one run."""
    node = graph.get(key)
    definition, policy = node.partitions_def, node.backfill_policy
    single = policy is not None and policy.max_partitions_per_run is None
    # In two dimensions a range is a rectangle, not the keys between two keys.
    return definition, single and not isinstance(definition, dg.MultiPartitionsDefinition)
