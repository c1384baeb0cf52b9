"""What a registry knows of its store, held against what is there: a part may have got lost.

A backup of what is left would look like one of the store, and push the last good one out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from feature_store_assets.errors import BackupRefused
from feature_store_assets.registry.database import audit, pins, statistics
from feature_store_assets.storage.untrusted import UNSOUND
from feature_store_assets.transfer.backup_inventory import versions
from feature_store_assets.transfer.registry_dump import RESTORE

if TYPE_CHECKING:
    from feature_store_assets.registry.database import Database
    from feature_store_assets.transfer.backup_repository import Manifest

_SHOWN = 5
BACKUP = "backup"


@dataclass(frozen=True)
class Known:
    """What a registry knows.

    Attributes
    ----------
    store
        The digest of the audit log's first entry; empty if there is none.
    backups
        The backups that it made, or came from, the newest first.
    tables
        Versions that tables have had, by folder.
    """

    store: str = ""
    backups: tuple[str, ...] = ()
    tables: Mapping[str, int] | None = None

    def reference(self, found: Sequence[Manifest]) -> Manifest | None:
        """Return the last backup that this registry knows of.

        The newest one may be younger: then the store was restored to an older state.
        """
        by_name = {each.id: each for each in found}
        return next((by_name[each] for each in self.backups if each in by_name), None)


def known_to(database: Database) -> Known:
    """Return what a registry of any schema knows; nothing is made where there is none."""
    if not database.exists:
        return Known()
    with database.mapped(), database.engine.connect() as connection:
        there = set(sa.inspect(connection).get_table_names())
        if audit.name not in there:
            return Known()
        first = sa.select(audit.c.digest).order_by(audit.c.sequence).limit(1)
        store = connection.execute(first).scalar() or ""
        tables = _tables(connection) if {pins.name, statistics.name} <= there else {}
        return Known(store, tuple(_backups(connection)), tables)


def _backups(connection: sa.Connection) -> Iterator[str]:
    query = (
        sa.select(audit.c.action, audit.c.detail)
        .where(audit.c.action.in_([BACKUP, RESTORE]))
        .order_by(audit.c.sequence.desc())
    )
    for action, text in connection.execute(query):
        try:
            detail: Any = json.loads(text)
            name = detail.get("backup" if action == RESTORE else "id")
        except UNSOUND:
            continue  # `audit verify` tells of it
        if isinstance(name, str):
            yield name


def _tables(connection: sa.Connection) -> dict[str, int]:
    imported = sa.select(audit.c.sequence).where(
        audit.c.action == "import", audit.c.subject == "registry state"
    )
    if connection.execute(imported.limit(1)).first():
        return {}  # pins and statistics of another store came in with it
    found: dict[str, int] = {}
    old = "snapshot" in {each["name"] for each in sa.inspect(connection).get_columns(pins.name)}
    others = ~sa.column("snapshot").startswith("backup:") if old else pins.c.owner_kind != "backup"
    for table, which in ((statistics, sa.true()), (pins, others)):
        place = (table.c.feature_group, table.c.group_version)
        query = sa.select(*place, sa.func.max(table.c.table_version)).where(which).group_by(*place)
        for group, number, version in connection.execute(query):
            folder = f"offline/{group}/v{number}"
            found[folder] = max(found.get(folder, 0), version)
    return found


def check_root(root: Path, known: Known, shown: str) -> None:
    """Refuse a data root that is not there, or holds nothing.

    Raises
    ------
    BackupRefused
        Nothing was made.
    """
    there = root.is_dir()
    if there and (known.store or versions(root, {})):
        return
    why = f"the data root '{root}' " + (
        "holds neither a registry nor tables" if there else "is not there"
    )
    hint = (
        "Look where FEATURE_STORE_STORAGE_PATH points, and whether its disk is mounted; or restore "
        "a backup (`feature-store restore`)"
    )
    raise BackupRefused(shown, why, hint)


def check_tables(
    tables: Mapping[str, int], known: Known, reference: Manifest | None, shown: str
) -> None:
    """Refuse to back up tables that had been in later versions.

    Raises
    ------
    BackupRefused
        Naming them.
    """
    if reference is not None:
        _check(
            tables, reference.tables, f"backup {reference.id} has", shown,
            f"Restore that backup: `feature-store restore {shown} --backup {reference.id}`. If "
            f"the table is gone on purpose, take another target",
        )  # fmt: skip
    _check(
        tables, known.tables or {}, "the registry knows", shown,
        "Restore a backup that has it. If there is none, write its partitions again, and delete "
        "the snapshots of what is lost",
    )  # fmt: skip


def _check(
    tables: Mapping[str, int], wanted: Mapping[str, int], who: str, shown: str, hint: str
) -> None:
    wrong = [
        f"table '{folder}' "
        + (f"is in version {tables[folder]}" if folder in tables else "is gone")
        + f", while {who} its version {version}"
        for folder, version in wanted.items()
        if tables.get(folder, -1) < version
    ]
    if wrong:
        more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise BackupRefused(shown, "; ".join(wrong[:_SHOWN]) + more, hint)
