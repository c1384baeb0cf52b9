"""Trusted functions: those that reads of request-time features may import and run.

A view names a function by `module:function`. `apply` records the functions of views that this
process built itself. What an archive, a backup or another registry brings is not recorded, unless
the person who brings it says so. Exports and backups leave this table out.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa

from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.registry.audit import append
from feature_store_assets.registry.database import functions

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from feature_store_assets.declaration.group import FeatureGroup
    from feature_store_assets.declaration.request import RequestFeature


def is_named(module: str, modules: Collection[str]) -> bool:
    """Tell whether a module, or a package that it is in, is among those named.

    Examples
    --------
    >>> is_named("shop.features", ["shop"]), is_named("shopping", ["shop"])
    (True, False)
    """
    return any(module == each or module.startswith(f"{each}.") for each in modules)


def trusted(connection: sa.Connection) -> set[str]:
    """Return the functions that are recorded as trusted."""
    return set(connection.execute(sa.select(functions.c.function)).scalars())


def untrusted(
    connection: sa.Connection,
    declared: Iterable[FeatureGroup | FeatureView],
    modules: Collection[str],
) -> list[str]:
    """Return the functions of views that may not run here, by name.

    Parameters
    ----------
    declared
        Groups, which name no functions, and views.
    modules
        Modules that the settings trust.
    """
    found = {each.function for each in _computed(declared) if not is_named(each.module, modules)}
    return sorted(found - trusted(connection)) if found else []


def trust(connection: sa.Connection, named: Iterable[str], *, reason: str) -> None:
    """Record functions as trusted, with an entry in the audit log.

    Parameters
    ----------
    named
        Functions as `module:function`. Known ones are left as they are.
    reason
        What they came by: `"apply"`, `"import"`, `"restore"`.
    """
    new = sorted(set(named) - trusted(connection))
    if new:
        entry = append(connection, "trust", "functions", {"by": reason, "functions": new})
        row = {"trusted_by": entry.actor, "trusted_at": datetime.now(UTC)}
        connection.execute(sa.insert(functions), [{"function": each, **row} for each in new])


def own(declared: Iterable[FeatureGroup | FeatureView]) -> list[str]:
    """Return the functions of views that were built here, not read from elsewhere."""
    return [each.function for each in _computed(declared) if each.trusted]


def admitted_view(
    connection: sa.Connection, view: FeatureView, modules: Collection[str]
) -> FeatureView:
    """Return a view whose functions have leave to run, those that are trusted here."""
    known = trusted(connection)
    return view.as_trusted(lambda each: each.function in known or is_named(each.module, modules))


def _computed(declared: Iterable[FeatureGroup | FeatureView]) -> list[RequestFeature]:
    return [each for view in declared if isinstance(view, FeatureView) for each in view.computed]
