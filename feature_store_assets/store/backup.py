"""Backups of a whole store, and the store that is made of one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from feature_store_assets.config import FeatureStoreConfig
from feature_store_assets.errors import FeatureStoreError
from feature_store_assets.store.facade import Facade
from feature_store_assets.transfer.backup import BackedUp, back_up
from feature_store_assets.transfer.backup_repository import Listed, list_backups, verify_backup
from feature_store_assets.transfer.restore import Restored, restore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class BackupVerbs(Facade):
    """Backs the store up."""

    def backup(
        self,
        target: str | Path,
        *,
        keep: int | None = None,
        told: Callable[[str], object] = lambda _: None,
    ) -> BackedUp:
        """Copy all that the store is, consistent, while everybody goes on reading and writing.

        Only what is new since the backup before is copied. One that was killed leaves nothing that
        looks like a backup: run it again.

        Parameters
        ----------
        target
            A folder outside the data root, or the URL of an object store, such as
            `s3://bucket/folder`.
        keep
            How many backups stay there; all by default.
        told
            Hears how it goes.

        Raises
        ------
        WriteRefused
            Another backup of this store is under way; as `BackupRefused`: the target is not this
            store's, or the store lost a part that a backup still has. Nothing was removed.
        """
        self.usage.flush()
        return back_up(self.parts, target, keep=keep, told=told)

    @staticmethod
    def list_backups(target: str | Path) -> list[Listed]:
        """Return the backups at a target, the oldest first."""
        return list_backups(target)

    @staticmethod
    def verify_backup(
        target: str | Path,
        backup: str | None = None,
        *,
        told: Callable[[str], object] = lambda _: None,
    ) -> Listed:
        """Compare every file of a backup, the newest by default, with its digest.

        What is found is noted at the target, and mended by the next backup.

        Raises
        ------
        BackupUnusable
            Naming the files that are gone or changed.
        """
        return verify_backup(target, backup, told)

    @classmethod
    def restore(
        cls,
        source: str | Path,
        config: FeatureStoreConfig | None = None,
        backup: str | None = None,
        *,
        trust_code: bool = False,
        told: Callable[[str], object] = lambda _: None,
    ) -> Restored:
        """Make a backup a store again, where nothing is: neither rows nor a registry.

        Parameters
        ----------
        source
            The target of the backup.
        config
            The store to be made; by default what `FEATURE_STORE_*` variables say. Registry and
            online store may be of other kinds than the ones that were backed up.
        backup
            Its id; the newest by default.
        trust_code
            Whether reads may run the functions by which views compute features. Without it they
            may once `feature-store apply` has recorded the views again.
        told
            Hears how it goes.

        Returns
        -------
        What was restored, the groups whose online rows are to be rebuilt, and the functions that
        may not run yet.

        Raises
        ------
        RestoreRefused, BackupUnusable, BackupNotFound
            Nothing was changed.
        """

        def follow(
            made: FeatureStoreConfig, groups: Sequence[tuple[str, int]]
        ) -> tuple[int, list[str]]:
            published, refused = 0, []
            with cls(made) as store:
                for name, version in groups:
                    try:
                        done = store.parts.publish(store.applied.group(name, version), ())
                    except FeatureStoreError as error:
                        told(f"'{name}' could not be published: {error}")
                        refused.append(name)
                    else:
                        published += len(done.partitions)
            return published, refused

        return restore(
            source,
            config or FeatureStoreConfig(),
            backup,
            follow=follow,
            trust_code=trust_code,
            told=told,
        )
