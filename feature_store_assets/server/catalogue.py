"""`GET /v1/groups`, `/v1/groups/{name}` and `/v1/search`: what there is to read."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query

from feature_store_assets.registry.search import Filters, Freshness, Hit
from feature_store_assets.registry.summaries import GroupSummary
from feature_store_assets.store import FeatureStore


def filters(
    *,
    kind: Annotated[str, Query(description="`group`, `feature` or `view`.")] = "",
    tag: Annotated[str, Query(description="`key` or `key:value`.")] = "",
    owner: Annotated[str, Query(description="An e-mail address or `team:name`.")] = "",
    dtype: Annotated[str, Query(description="A feature's type, such as `float64`.")] = "",
    entity: Annotated[str, Query(description="An entity's name.")] = "",
    stage: Annotated[str, Query(description="`draft`, `active`, `deprecated` or `retired`.")] = "",
    freshness: Annotated[
        Freshness | Literal[""],
        Query(description="Whether the group keeps to its freshness; a view is none of these."),
    ] = "",
) -> Filters:
    """What is looked for beside words; what is empty takes all."""
    return Filters(
        kind=kind or None,
        tag=tag or None,
        owner=owner or None,
        dtype=dtype or None,
        entity=entity or None,
        stage=stage or None,
        freshness=freshness or None,
    )


def catalogue(store: FeatureStore) -> APIRouter:
    """The routes that tell what is applied."""
    router = APIRouter(tags=["catalogue"])

    @router.get("/v1/groups", summary="All feature groups, by name")
    def groups() -> list[GroupSummary]:
        stages = store.stages.reader()
        return [GroupSummary.of(group, stages) for group in store.groups()]

    @router.get("/v1/groups/{name}", summary="One feature group")
    def group(name: str) -> GroupSummary:
        return GroupSummary.of(store.applied.group(name), store.stages.reader())

    @router.get("/v1/search", summary="Groups, views and features by words, the best first")
    def found(
        q: Annotated[str, Query(min_length=1, description="Words, all of which must fit.")],
        chosen: Annotated[Filters, Depends(filters)],
        limit: Annotated[int, Query(ge=1, le=1_000)] = 20,
    ) -> list[Hit]:
        return store.search(q, chosen, limit=limit)

    return router
