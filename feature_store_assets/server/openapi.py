"""The lean routes in the OpenAPI document, which the framework cannot see."""

from typing import Any, NamedTuple

import msgspec
from fastapi import FastAPI

from feature_store_assets.server.feast import FeastAnswer, FeastRequest
from feature_store_assets.server.online import OnlineAnswer, OnlineRequest


class _Documented(NamedTuple):
    asked: type[msgspec.Struct]
    answered: type[msgspec.Struct]
    summary: str


LEAN = {
    "/v1/online-features": _Documented(
        OnlineRequest, OnlineAnswer, "The newest features of entities, of a group or a view"
    ),
    "/get-online-features": _Documented(
        FeastRequest, FeastAnswer, "The same in the format of Feast's feature server"
    ),
}
_REFERENCE = "#/components/schemas/{name}"
_PROBLEMS = {
    "400": "The body is no JSON.",
    "401": "No valid token.",
    "404": "A name that nothing has.",
    "413": "Too many bytes, or too many entities.",
    "422": "The body does not fit, or its values do not.",
    "503": "The online store does not answer.",
}


def document(app: FastAPI) -> None:
    """Let the app's OpenAPI document tell of the lean routes, and of all problems alike."""
    framework = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            told = framework()
            kinds = [kind for each in LEAN.values() for kind in (each.asked, each.answered)]
            schemas, components = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)
            told["components"]["schemas"] |= components
            told["components"]["schemas"]["Problem"] = {
                "type": "object",
                "properties": {"detail": {"type": "string"}},
                "required": ["detail"],
            }
            pairs = zip(schemas[::2], schemas[1::2], strict=True)
            for (path, each), (asked, answered) in zip(LEAN.items(), pairs, strict=True):
                told["paths"][path] = {"post": _operation(path, each.summary, asked, answered)}
            _tell_problems(told)
            app.openapi_schema = told
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's documentation has it


def _operation(path: str, summary: str, asked: Any, answered: Any) -> dict[str, Any]:
    return {
        "tags": ["online"],
        "summary": summary,
        "operationId": path.strip("/").replace("/", "_").replace("-", "_"),
        "security": [{"HTTPBearer": []}, {"APIKeyHeader": []}],
        "requestBody": {"required": True, "content": {"application/json": {"schema": asked}}},
        "responses": {
            "200": {
                "description": "In the order asked.",
                "content": {"application/json": {"schema": answered}},
            }
        },
    }


def _tell_problems(told: dict[str, Any]) -> None:
    schema = {"application/json": {"schema": {"$ref": _REFERENCE.format(name="Problem")}}}
    feast: dict[str, Any] = {"application/json": {"schema": {}}}  # a string with an object in it
    for path, operations in told["paths"].items():
        content = feast if path == "/get-online-features" else schema
        for operation in operations.values():
            if "security" in operation:
                for status, about in _PROBLEMS.items():
                    operation["responses"][status] = {"description": about, "content": content}
