"""Writes shared/contract and pages of docs/ from the program: `make generate`. `--check` only says what differs.

    openapi/<service>.json     the HTTP of each service, from its app as it is built to run
    schemas/*.json             events as they stand on the log, commands as people and platforms send them, envelopes
    asyncapi.yaml              every subject, what is on it, and which stream keeps it
    EVENTS.md                  the catalogue for people

and the calendars of the demo from their package (infra/dev/seed_calendars.py), the domain half of docs/glossary.md and
the index of docs/decisions and docs/metrics.md (infra/dev/pages.py).

The same program writes the same bytes. Schemas of released versions stay as they are when a newer one comes.
"""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from fastapi import FastAPI
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, create_model

from infra.dev import CHECKOUT, pages, seed_calendars
from infra.dev.asyncapi import asyncapi
from infra.dev.events_page import events_page
from infra.servers.services import BY_OWNER
from services.supervision.feed.writer import FeedMark
from shared.case.base import PRIVATE, CaseId, Code, Event, Owner, PersonId, Region, Sealed, UnitCode
from shared.case.catalogue import EVENTS
from shared.case.commands import COMMANDS
from shared.kit import access
from shared.kit.bodies import RegisterBody, body_of
from shared.kit.clock import SystemClock
from shared.kit.data import Data
from shared.kit.feed_item import FeedItem
from shared.kit.identity import Identity
from shared.kit.runtime import Runtime
from shared.kit.settings import Settings
from shared.kit.submission import Envelope, Progress, Receipt
from shared.reference.documents import ROW_TYPES

CONTRACT = CHECKOUT / "shared" / "contract"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


class LogEnvelope(BaseModel):
    """An event on the log, CloudEvents 1.0 in JSON. `time`: when it happened, `recordedat`: when it was taken.

    The actor takes five attributes, and `actorfor` where a deputy acts for an absent person; `references` are the
    documents in force, separated by spaces. What a reader does not know it tolerates.
    """

    specversion: Annotated[str, Field(pattern=r"^1\.0$")]
    id: CaseId
    source: Annotated[str, Field(pattern=r"^/(intake|routing|supervision)$")]
    type: Annotated[str, Field(pattern=r"^(case|order)\.[a-z_]+$")]
    version: Annotated[int, Field(ge=1)]
    subject: Annotated[str, Field(pattern=r"^[a-z]+\.[0-9]{2}\.[0-9]{2}\.[0-9]{2}\.[0-9]{3}\.[0-9]{3}\.[0-9a-f-]{36}$")]
    time: AwareDatetime
    recordedat: AwareDatetime
    actorperson: PersonId
    actorpost: Code
    actorunit: UnitCode
    actorcentre: Region
    actorregion: Region
    actorfor: PersonId | None = None
    commandid: str
    causationid: str | None = None
    correlationid: str | None = None
    traceparent: str | None = None
    references: str | None = None
    datacontenttype: Annotated[str, Field(pattern=r"^application/json$")]
    data: dict[str, Any]


class _Absent:
    """Stands where a service would find its servers: to ask for routes, none is needed."""

    def __getattr__(self, name: str) -> Any:
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self


def app_without_servers(owner: Owner) -> FastAPI:
    """The app of a service as `build` makes it; only what needs no server works."""
    absent: Any = _Absent()
    service = BY_OWNER[owner].build(
        identity=Identity(owner=owner, settings=Settings(), reference_data=absent),
        data=Data(log=absent, streams=absent, edge=absent, vault=absent, database=absent),
        runtime=Runtime.of(SystemClock()),
    )
    return service.app


def openapi(owner: Owner) -> dict[str, Any]:
    """The OpenAPI document of a service."""
    document: dict[str, Any] = app_without_servers(owner).openapi()
    return document


def event_schema(event: type[Event]) -> dict[str, Any]:
    """The data of an event as it stands on the log: what is private is a seal, new fields are tolerated."""
    fields: Any = {
        name: (_sealed(field.rebuild_annotation()), ... if field.is_required() else field.default)
        for name, field in event.model_fields.items()
    }
    model = create_model(event.TYPE, __config__=ConfigDict(extra="ignore"), __doc__=event.__doc__, **fields)
    name = f"{event.TYPE}.v{event.VERSION}"
    return _schema(name, model) | {"x-owner": event.OWNER.value, "x-sealed": list(event.PRIVATE)}


def _sealed(annotation: Any) -> Any:
    if get_origin(annotation) is Annotated and PRIVATE in annotation.__metadata__:
        return Sealed
    parts = get_args(annotation)
    if type(None) in parts and PRIVATE in {mark for part in parts for mark in getattr(part, "__metadata__", ())}:
        return Union[tuple(_sealed(part) for part in parts)]  # noqa: UP007
    return annotation


def command_schema(name: str) -> dict[str, Any]:
    """The facts of a command as people and platforms send them, content in the open; `time` stands beside them."""
    model: type[BaseModel] = body_of(COMMANDS[name].facts)
    if name == "register":
        model = RegisterBody
    schema = _schema(f"command.{name}", model)
    schema["properties"].pop("time")
    return schema | {"description": COMMANDS[name].doc, "x-owner": COMMANDS[name].owner.value}


def _schema(name: str, model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema()
    # an id of its own, so that its references hold wherever the schema is put
    return {"$schema": DIALECT, "$id": f"urn:caseflow:{name}"} | schema | {"title": name}


def schemas() -> dict[str, dict[str, Any]]:
    """Every schema by its file name."""
    by_name = {f"{event.TYPE}.v{event.VERSION}": event_schema(event) for event in EVENTS.values()}
    by_name |= {f"command.{name}": command_schema(name) for name in COMMANDS if access.offered(name)}
    envelopes: dict[str, type[BaseModel]] = {"submission": Envelope, "receipt": Receipt, "progress": Progress}
    envelopes |= {"event": LogEnvelope, "feed": FeedItem, "feed_mark": FeedMark}
    by_name |= {f"envelope.{name}": _schema(f"envelope.{name}", model) for name, model in envelopes.items()}
    by_name |= {f"reference.{kind}": _schema(f"reference.{kind}", row) for kind, row in ROW_TYPES.items()}
    return {f"{name}.json": schema for name, schema in by_name.items()}


@cache
def documents() -> dict[str, str]:
    """Every file of the contract: its text by its path inside shared/contract."""
    owners = [owner for owner in Owner if (CHECKOUT / "services" / owner / "app.py").exists()]
    texts = {f"openapi/{owner}.json": _json(openapi(owner)) for owner in owners}
    texts |= {f"schemas/{name}": _json(schema) for name, schema in schemas().items()}
    return texts | {"asyncapi.yaml": asyncapi(), "EVENTS.md": events_page()}


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def differences(root: Path = CONTRACT) -> list[str]:
    """What of the contract is not as the program says: paths to write anew or to remove."""
    expected = documents()
    there = {path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*") if path.is_file()}
    stale = {path for path in there.keys() - expected.keys() if not _is_older(path)}
    return sorted(stale | {path for path, text in expected.items() if there.get(path) != text})


def _is_older(path: str) -> bool:
    """Whether this is the schema of a version that was released before today's."""
    type_, _, version = path.removeprefix("schemas/").removesuffix(".json").rpartition(".v")
    return type_ in EVENTS and version.isdigit() and int(version) < EVENTS[type_].VERSION


def stale() -> dict[str, str | None]:
    """Every generated file that is not as the program says: its text by its path in the checkout, None to remove it."""
    contract, folder = documents(), CONTRACT.relative_to(CHECKOUT).as_posix()
    files: dict[str, str | None] = {f"{folder}/{path}": contract.get(path) for path in differences()}
    files |= pages.stale_pages()
    if not seed_calendars.is_current():
        files[seed_calendars.SEED.relative_to(CHECKOUT).as_posix()] = seed_calendars.seed()
    return files


def main() -> int:
    """Write what differs, or with `--check` name it; 1 when the check found something."""
    files, checks = stale(), "--check" in sys.argv[1:]
    for path, text in files.items():
        file = CHECKOUT / path
        if checks:
            print(f"{path} is not what the program says: run `make generate`")
        elif text is None:
            file.unlink()
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
            print(f"wrote {path}")
    return 1 if files and checks else 0


if __name__ == "__main__":
    sys.exit(main())
