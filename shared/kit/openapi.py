"""The OpenAPI document of a service, from its routes, the catalogue of commands and the service's `operations.yaml`.

That file has a row for each operation: `text` says what its caller should know, `example` is a body that may be sent.
What a command needs, and the event that it makes, follow from the catalogue. Errors are problems.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from shared.case.commands import COMMANDS
from shared.kit.problems import MEDIA_TYPE, Problem

# The group of an operation: the first part of its address.
TAGS = {
    "cases": "件 · One case: registration, commands, deadlines, timeline",
    "public": "群众自查 · A resident follows and rates their own case, by number and secret",
    "queue": "分派台 · Cases that wait for the triage desk",
    "hand-over": "移交 · All open cases of a person or a unit go to another",
    "orders": "督办单 · Supervision orders",
    "proposals": "督办建议 · Cases for which an order is proposed",
    "feed": "动态 · Items for centres, live",
    "webhooks": "推送 · Items posted to another system",
    "notices": "通知 · Messages to residents, and their delivery",
    "documents": "基础资料 · The reference documents in force",
    "counts": "统计 · The numbers of cases",
    "events": "事件 · The flow events of the log, live",
}
_ABOUT = """诉求办理服务接口。
调用者以 Bearer 令牌认证；群众以编号和查询码认证。错误均为 RFC 9457 问题，文字随 Accept-Language，默认中文。

Case handling for five levels of local government. Callers authenticate by a bearer token, residents by the number of
their case and its secret. Every error is a problem (RFC 9457), Chinese or in the language of Accept-Language."""


class ServiceApp(FastAPI):
    """A web app whose OpenAPI document has the rows of an `operations.yaml`."""

    def __init__(self, operations: Path | None, **options: Any) -> None:
        super().__init__(**options)
        self._operations = operations

    def openapi(self) -> dict[str, Any]:
        """The document; made once."""
        if self.openapi_schema is None:
            rows = yaml.safe_load(self._operations.read_text("utf-8")) if self._operations else {}
            self.openapi_schema = _document(self, rows)
        return self.openapi_schema


def _document(app: FastAPI, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    document: dict[str, Any] = get_openapi(
        title=app.title, version=app.version, description=_ABOUT, routes=app.routes, servers=app.servers
    )
    groups = set()
    for path, methods in document["paths"].items():
        for operation in methods.values():
            group = _group(path)
            groups.add(group)
            operation["tags"] = [group]
            row = rows.get(operation["operationId"], {})
            operation["description"] = _description(operation["operationId"], row.get("text"))
            for content in operation.get("requestBody", {}).get("content", {}).values():
                if "example" in row:
                    content["examples"] = {"example": {"value": row["example"]}}
            for status, response in operation["responses"].items():
                if status == "default" or int(status) >= 400:
                    response["content"] = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Problem"]["examples"] = [_EXAMPLE.model_dump(mode="json", exclude_defaults=True)]
    document["tags"] = [{"name": name, "description": text} for name, text in TAGS.items() if name in groups]
    return document


def _group(path: str) -> str:
    first = path.split("/")[1]
    return "cases" if first == "cases-with-attachments" else first


def _description(operation_id: str, text: str | None) -> str:
    """The text of an operation; for a command what it needs and what it makes."""
    spec = COMMANDS.get(operation_id.partition("_")[2].replace("issue_order", "issue-order"))
    needs = (
        f"Needs the right `{spec.right}`, and the tie `{spec.tie}` to the {spec.kind}. Makes the event "
        f"`{spec.event.TYPE}`. Sent again with the same Idempotency-Key it happens once."
        if spec is not None
        else ""
    )
    return "\n\n".join(filter(None, (text, needs)))


_EXAMPLE = Problem(
    type="/problems/wrong_status", title="冲突", status=409, code="wrong_status",
    detail="该件的状态不允许这样做。请查看该件及其后续步骤。", instance="/traces/4bf92f3577b34da6a3ce929d0e0e4736",
)  # fmt: skip
