"""Archives: rows and declarations out of a store, and into another one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_store_assets.store.facade import Facade

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from feature_store_assets.transfer.archive_export import Exported
    from feature_store_assets.transfer.archive_import import Imported
    from feature_store_assets.transfer.registry_state import OnConflict


class ArchiveVerbs(Facade):
    """Brings rows out of the store, and into it."""

    def export_archive(
        self,
        target: str | Path,
        features: Any = None,
        *,
        snapshot: str | None = None,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        told: Callable[[str], object] = lambda _: None,
    ) -> Exported:
        """Write groups, with their declarations, into a folder that any tool reads.

        The table versions are pinned meanwhile. An export that was killed goes on where it was if
        it is asked for again.

        Parameters
        ----------
        target
            The folder: empty, not there yet, or with an unfinished export of the same.
        features, snapshot
            A group, a view, or a list of them; or a snapshot's name; by default all there is.
        start_time, end_time
            Event times in `[start, end)`; naive ones mean local time.
        told
            Hears of each portion that is on the disk.

        Raises
        ------
        WriteRefused
            The folder holds something else.
        """
        from feature_store_assets.transfer.archive import local_folder
        from feature_store_assets.transfer.archive_export import Exporting

        return Exporting(self.parts).export(
            local_folder(target),
            features,
            snapshot=snapshot,
            start=start_time,
            end=end_time,
            told=told,
        )

    def import_archive(
        self,
        source: str | Path,
        *,
        on_conflict: OnConflict = "refuse",
        trust_code: bool = False,
        told: Callable[[str], object] = lambda _: None,
    ) -> Imported:
        """Bring an archive into this store: declarations, all revisions of its rows, statistics.

        Everything is verified first. Rows in the archive's range are all that it may touch; an
        import that was killed is finished by running it again.

        Parameters
        ----------
        source
            The archive's folder.
        on_conflict
            What happens where a partition of the archive holds rows already: `"refuse"` the
            import, `"keep"` these rows, or `"replace"` them.
        trust_code
            Whether reads may run the functions by which the archive's views compute features.
            Without it an archive with functions that this store does not know is refused.
        told
            Hears of each portion that was committed.

        Raises
        ------
        ArchiveUnusable, ArchiveConflict, ImportConflict, BreakingChange, GroupHeld
            Nothing was written.
        CodeNotTrusted
            Nothing was written.
        """
        from feature_store_assets.transfer.archive import Archive
        from feature_store_assets.transfer.archive_import import Importing

        importing = Importing(self.parts)
        return importing.load(Archive(source), on_conflict, told, trust_code=trust_code)
