"""The OpenAPI document: that of FastAPI, with the error responses and the authentication, which it does not know."""

from typing import Any

from fastapi import FastAPI, Response

from ml_backend.project import NAME_PATTERN
from ml_backend.rest.auth import OPEN_PATHS
from ml_backend.rest.error_responses import STATUS_DESCRIPTIONS, Refusal

NPZ = "application/x-npz"
BINARY = {"type": "string", "format": "binary"}
NPZ_BODY = {"requestBody": {"required": True, "content": {NPZ: {"schema": BINARY}}}}
ANY_BODY: dict[str, Any] = {"requestBody": {"content": {"application/json": {"schema": {}}}}}

_SCHEMES = {"basic": {"type": "http", "scheme": "basic"}, "bearer": {"type": "http", "scheme": "bearer"}}
_REFUSAL = {"application/json": {"schema": {"$ref": f"#/components/schemas/{Refusal.__name__}"}}}


class Npz(Response):
    """A response with NumPy's arrays."""

    media_type = NPZ


def describe(app: FastAPI, *, guarded: bool) -> None:
    """Complete the document of `app`. If `guarded`, the app needs credentials."""
    document = app.openapi()
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas[Refusal.__name__] = Refusal.model_json_schema()
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    if guarded:
        components["securitySchemes"] = _SCHEMES
    for path, operations in document["paths"].items():
        for operation in operations.values():
            _describe(operation, guarded=guarded and path not in OPEN_PATHS)


def _describe(operation: dict[str, Any], *, guarded: bool) -> None:
    responses: dict[str, Any] = operation["responses"]
    refusals = {status for status in responses if int(status) in STATUS_DESCRIPTIONS}
    if "requestBody" in operation:
        refusals |= {"413", "422"}
    if guarded:
        refusals.add("401")
        operation["security"] = [{name: []} for name in _SCHEMES]
    for status in sorted(refusals):
        responses[status] = {"description": STATUS_DESCRIPTIONS[int(status)], "content": _REFUSAL}
    for answer in responses.values():
        if NPZ in answer.get("content", {}):
            answer["content"][NPZ]["schema"] = BINARY
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path" and parameter["name"] == "project":
            parameter["schema"]["pattern"] = f"^{NAME_PATTERN}$"
