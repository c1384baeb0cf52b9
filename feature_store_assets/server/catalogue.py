"""`GET /v1/groups`, `/v1/groups/{name}` and `/v1/search`: what there is to read."""

from dataclasses import asdict
from typing import Annotated, Literal, Self

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel

from feature_store_assets.declaration.feature import Feature
from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.registry.search import Filters, Freshness
from feature_store_assets.store import FeatureStore


class FeatureCard(BaseModel):
    """One feature."""

    name: str
    type: str
    description: str
    pii: bool
    derived_from: list[str]
    tags: dict[str, str]

    @classmethod
    def of(cls, feature: Feature) -> Self:
        return cls(
            name=feature.name,
            type=feature.dtype,
            description=feature.description,
            pii=feature.pii,
            derived_from=list(feature.derived_from),
            tags=dict(feature.tags),
        )


class GroupCard(BaseModel):
    """One feature group, in its newest version."""

    name: str
    version: int
    description: str
    entity: str
    join_keys: dict[str, str | None]
    timestamp: str
    features: list[FeatureCard]
    ttl_seconds: float | None
    online: bool
    materialized: bool
    owners: list[str]
    tags: dict[str, str]

    @classmethod
    def of(cls, group: FeatureGroup) -> Self:
        entity = group.entity
        return cls(
            name=group.name,
            version=group.version,
            description=group.description,
            entity=entity.name,
            join_keys=dict(zip(entity.join_keys, entity.key_types, strict=True)),
            timestamp=group.timestamp,
            features=[FeatureCard.of(feature) for feature in group.features],
            ttl_seconds=None if group.ttl is None else group.ttl.total_seconds(),
            online=group.online,
            materialized=group.materialized,
            owners=list(group.owners),
            tags=dict(group.tags),
        )


class SearchHit(BaseModel):
    """A group, view or feature (`group.feature`) that was found."""

    kind: str
    name: str
    description: str
    score: int
    stage: str
    freshness: str


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
    def groups() -> list[GroupCard]:
        return [GroupCard.of(group) for group in store.groups()]

    @router.get("/v1/groups/{name}", summary="One feature group")
    def group(name: str) -> GroupCard:
        return GroupCard.of(store.applied.group(name))

    @router.get("/v1/search", summary="Groups, views and features by words, the best first")
    def found(
        q: Annotated[str, Query(min_length=1, description="Words, all of which must fit.")],
        chosen: Annotated[Filters, Depends(filters)],
        limit: Annotated[int, Query(ge=1, le=1_000)] = 20,
    ) -> list[SearchHit]:
        hits = store.search(q, chosen, limit=limit)
        return [SearchHit(**asdict(hit)) for hit in hits]

    return router
