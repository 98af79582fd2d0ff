"""The AsyncAPI 3 document: every subject, what is on it, who sends and hears it, and which stream keeps it.

Written by us: FastStream's generator declares no parameters of a subject, has one payload per subscriber where we have
a catalogue told apart by `type`, names channels after Python functions, and says nothing of streams. A test holds every
subject that FastStream registers against it (tests/architecture/test_channels.py).
"""

from __future__ import annotations

from typing import Any

import yaml

from services.supervision.feed.writer import AT, REACHED
from shared.case.announcements import FeedKind
from shared.case.base import Owner
from shared.case.catalogue import EVENTS
from shared.case.commands import COMMANDS, CommandSpec
from shared.kit import access
from shared.log import topology
from shared.log.topology import (
    FEED,
    FEED_MARK,
    KINDS,
    LOG_FLAGS,
    PARKED,
    PROGRESS,
    RECEIPTS,
    REFERENCE,
    SUBMISSIONS,
    SUBSCRIBER_DOMAIN,
    SUBSCRIBER_PULL_COUNT_MAX,
    SUBSCRIBER_PULL_S_MAX,
    Topology,
)
from shared.reference.documents import DocumentKind, Publication

REGION = "{pp}.{cc}.{xx}.{ttt}.{vvv}"
PARAMETERS = {
    "pp": "Province: the first two of the twelve digits of a region code (GB/T 33200-2016, clause 4).",
    "cc": "City: two digits.",
    "xx": "County: two digits.",
    "ttt": "Township: three digits.",
    "vvv": "Village: three digits; a level below the region's own is filled with zeros.",
    "id": "The id of the aggregate, or of the submission.",
    "source": "The name of a platform.",
    "number": "The case number.",
    "kind": "The kind of reference document, or of feed item.",
    "region": "Twelve digits, 0 for the whole installation.",
    "level": "The level of the centre in charge, 1 (province) to 5 (village).",
    "service": "The service that could not do it.",
    "reaction": "What it could not do.",
    "subscriber": "The durable of a subscriber: `subscriber-` and its name.",
}
CASE = {"id": "76c49159-e85b-8a36-888d-0205c20b1de0", "number": "FJ5M-0003V-K"}
UNIT = "510104000000-housing"
FACTS: dict[str, dict[str, Any]] = {
    "register": {
        "channel": "app",
        "region": "510104017000",
        "nature": "complaint",
        "title": "小区电梯停运",
        "text": "物业公司一个月没有修电梯。",
        "parties": [{"name": "张三", "phone": "13800000000"}],
    },
    "sign-for": {"unit": UNIT, "person": "jj-housing-1"},
    "progress": {"unit": UNIT, "note": {"text": "已约谈物业公司。"}, "contacted": True},
    "settle": {"outcome": "solved", "reply": {"text": "电梯已修复。"}, "basis": "物业管理条例"},
}
TOLD = {"specversion": "1.0", "datacontenttype": "application/json", "time": "2026-03-02T09:00:00+08:00"}
FEED_HEADERS: dict[str, Any] = {
    "type": "object",
    "description": "Where the writer of the feed stands; of no use to others.",
    "properties": {
        AT: {
            "type": "string",
            "description": "The event, and the how many-th item of it.",
            "examples": ["LOG_5101 17 1"],
        },
        REACHED: {"type": "string", "description": "What was done before it.", "examples": ["LOG_5101=16 LOG_5107=9"]},
    },
}
OVERDUE: dict[str, Any] = {
    **TOLD,
    "id": "0c1f1f57-3c46-5c35-9d0a-54a5b0f4e111",
    "source": "/supervision",
    "type": "feed.overdue",
    "subject": CASE["id"],
    "data": {
        "kind": "overdue",
        "level": 3,
        "region": "510104000000",
        "case": CASE["id"],
        "number": CASE["number"],
        "event": "case.overdue",
        "position": "LOG_5101:131",
        "version": 7,
        "status": "handling",
        "in_charge": "510104000000",
        "nature": "complaint",
        "unit": UNIT,
        "stage": "handle",
        "due": "2026-03-02T09:00:00+08:00",
        "seen_at": "2026-03-02T09:00:00.021+08:00",
    },
}
ANSWER = {**CASE, "status": "awaiting_triage", "version": 1, "position": "LOG_5101:123"}
PROBLEM = {
    "type": "/problems/idempotency.key_reused",
    "title": "Unprocessable Entity",
    "status": 422,
    "code": "idempotency.key_reused",
    "detail": "This id was used for another submission.",
    "advice": "Use a new id for a new submission; the answer to the first one stands under its id.",
}


def asyncapi() -> str:
    """The document as YAML."""
    messages = _messages()
    channels = _channels()
    document = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "caseflow",
            "version": "1",
            "description": "Cases from intake to close on one log. Written by `make generate`; EVENTS.md tells"
            " people the same, docs/platforms.md how a platform takes part.",
        },
        "defaultContentType": "application/cloudevents+json",
        "servers": {"embedded": {"host": "127.0.0.1:4222", "protocol": "nats"}},
        "channels": channels,
        "operations": _operations(),
        "components": {
            "messages": messages,
            "schemas": {"feed-headers": FEED_HEADERS},
            "parameters": {name: {"description": text} for name, text in PARAMETERS.items()},
        },
    }
    return yaml.dump(document, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=120)


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _channels() -> dict[str, Any]:
    by_kind = {kind: [type_ for type_ in EVENTS if type_.startswith(f"{kind}.")] for kind in KINDS}
    log_stream = {"stream": "LOG_{area}", "guard": "Nats-Expected-Last-Subject-Sequence", **LOG_FLAGS}
    channels = {
        f"log-{kind}": _channel(f"{kind}.{REGION}.{{id}}", f"Every event of one {kind}, in order.", types, log_stream)
        for kind, types in by_kind.items()
    }
    submitted = [f"command.{spec.name}" for spec in _offered()]
    answers = ["submission.accepted", "submission.refused"]
    documents = [f"reference.{kind}" for kind in DocumentKind]
    rows: tuple[tuple[str, str, str, list[str], str], ...] = (
        ("submissions", f"submit.{{source}}.{REGION}", "Commands that platforms publish.", submitted, SUBMISSIONS),
        ("receipts", "receipt.{source}.{id}", "The one answer to a submission.", answers, RECEIPTS),
        ("progress", "progress.{source}.{number}", "The steps of a platform's case.", ["case.progress"], PROGRESS),
        ("reference", "reference.{kind}.{region}", "Reference documents; the last is in force.", documents, REFERENCE),
        ("feeds", f"feed.{{kind}}.{{level}}.{REGION}.{{id}}", "What happened, for centres in charge and those above.",
         [f"feed.{kind}" for kind in FeedKind], FEED),
        ("feed-mark", FEED_MARK, "How far the feed's writer has read, where no item says so.", ["feed.mark"], FEED),
        ("parked", "parked.{service}.{reaction}", "What could not be done, with the reason and no content.",
         ["parked"], PARKED),
    )  # fmt: skip
    streams = {configuration["name"]: configuration for configuration in Topology(("5101",)).configurations()}
    for name, address, text, messages, stream in rows:
        config = streams[stream]
        limits = {key: config[key] for key in ("max_age", "max_msg_size", *LOG_FLAGS) if key in config}
        channels[name] = _channel(address, text, messages, {"stream": stream, **limits})
    return channels | _partner_channels()


def _partner_channels() -> dict[str, Any]:
    """The requests that accounts of platforms and subscribers may make to NATS itself (infra/servers/partners.py)."""
    latest = "asks for the last message that is kept."
    api = f"$JS.{SUBSCRIBER_DOMAIN}.API.CONSUMER"
    consumer = topology.subscription("name", [])
    of_feed = {
        "stream": FEED,
        "consumer": {key: consumer[key] for key in consumer if key not in ("durable_name", "filter_subjects")},
        "filter": "feed.<kinds>.<levels>.<its regions>.>",
    }
    rows: tuple[tuple[str, str, str, str, dict[str, Any]], ...] = (
        ("last-receipt", "$JS.API.DIRECT.GET.RECEIPTS.receipt.{source}.{id}", f"A platform {latest}", "nats.question",
         {"stream": RECEIPTS}),
        ("last-progress", "$JS.API.DIRECT.GET.PROGRESS.progress.{source}.{number}", f"A platform {latest}",
         "nats.question", {"stream": PROGRESS}),
        ("feed-pull", f"{api}.MSG.NEXT.FEED.{{subscriber}}", "A subscriber asks for items from its own durable.",
         "nats.pull", of_feed),
        ("feed-durable", f"{api}.INFO.FEED.{{subscriber}}", "A subscriber asks how far it is.", "nats.question",
         of_feed),
        ("feed-replay", f"{api}.RESET.FEED.{{subscriber}}", "An auditor sets the own durable back.", "nats.replay",
         of_feed),
        ("feed-acknowledgement", "$JS.ACK.FEED.{subscriber}.>", "A subscriber settles an item, on its reply subject.",
         "nats.acknowledgement", of_feed),
    )  # fmt: skip
    return {name: _channel(address, text, [message], config) for name, address, text, message, config in rows}


def _channel(address: str, text: str, messages: list[str], jetstream: dict[str, Any]) -> dict[str, Any]:
    names = [part[1:-1] for part in address.split(".") if part.startswith("{")]
    return {
        "address": address,
        "description": text,
        "parameters": {name: {"$ref": f"#/components/parameters/{name}"} for name in names},
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "x-jetstream": jetstream,
    }


def _offered() -> list[CommandSpec]:
    return [spec for spec in COMMANDS.values() if access.offered(spec.name)]


def _messages() -> dict[str, Any]:
    messages = {
        type_: _event(type_, f"{type_}.v{cls.VERSION}", cls.OWNER, cls.__doc__ or "", list(cls.PRIVATE), cls.VERSION)
        for type_, cls in EVENTS.items()
    }
    for spec in _offered():
        messages[f"command.{spec.name}"] = _submission(spec)
    messages["submission.accepted"] = _of(
        "envelope.receipt", "The command stands.", _receipt("submission.accepted", ANSWER)
    )
    messages["submission.refused"] = _of(
        "envelope.receipt", "It does not, and why.", _receipt("submission.refused", PROBLEM)
    )
    step = {**CASE, "step": "assigned", "status": "assigned", "unit": UNIT, "version": 3, "position": "LOG_5101:125"}
    head = {"id": "1f0d37a1-58f0-5a54-8a3f-7a1e6f0f3c11", "source": "/intake", "type": "case.progress"}
    messages["case.progress"] = _of(
        "envelope.progress", "One public step.", {**TOLD, **head, "subject": CASE["number"], "data": step}
    )
    messages |= {f"feed.{kind}": _feed_item(kind, kind.meaning) for kind in FeedKind}
    messages["feed.mark"] = {
        "title": "feed.mark",
        "summary": "A mark of the feed's writer; others skip it.",
        "payload": {"$ref": "./schemas/envelope.feed_mark.json"},
    }
    for kind in DocumentKind:
        rows = {"type": "array", "items": {"$ref": f"./schemas/reference.{kind}.json"}}
        properties = {
            "kind": {"const": kind.value},
            "region": {"type": "string"},
            "note": {"type": "string"},
            "rows": rows,
            "publication": Publication.model_json_schema(),
        }
        messages[f"reference.{kind}"] = {
            "title": f"Reference document: {kind}",
            "contentType": "application/json",
            "payload": {"type": "object", "required": ["kind"], "properties": properties},
        }
    messages |= _nats_messages()
    messages["parked"] = {
        "title": "Parked",
        "contentType": "application/json",
        "payload": {"type": "object", "required": ["reason"], "properties": {"reason": {"type": "string"}}},
    }
    return messages


def _nats_messages() -> dict[str, Any]:
    """The bodies of requests to NATS itself."""
    count = {"type": "integer", "minimum": 1}
    pull = {
        "batch": count | {"maximum": SUBSCRIBER_PULL_COUNT_MAX},
        "expires": count | {"maximum": SUBSCRIBER_PULL_S_MAX * 10**9, "description": "Nanoseconds"},
        "no_wait": {"type": "boolean"},
    }
    verbs = {"type": "string", "pattern": r"^(\+ACK|\+WPI|\+TERM|-NAK( \{.*\})?)?$"}
    return {
        "nats.question": {"title": "Empty", "contentType": "text/plain", "payload": {"type": "string", "maxLength": 0}},
        "nats.pull": _json_body("Pull", pull),
        "nats.replay": _json_body(
            "Replay", {"seq": count | {"description": "The first sequence of FEED to read again"}}
        ),
        "nats.acknowledgement": {"title": "Acknowledgement", "contentType": "text/plain", "payload": verbs},
    }


def _json_body(title: str, properties: dict[str, Any]) -> dict[str, Any]:
    payload = {"type": "object", "properties": properties}
    return {"title": title, "contentType": "application/json", "payload": payload}


def _event(type_: str, schema: str, owner: Owner, doc: str, sealed: list[str], version: int) -> dict[str, Any]:
    properties = {"type": {"const": type_}, "version": {"const": version}, "data": {"$ref": f"./schemas/{schema}.json"}}
    return {
        "title": type_,
        "summary": " ".join(doc.split()),
        "payload": {"allOf": [{"$ref": "./schemas/envelope.event.json"}, {"type": "object", "properties": properties}]},
        "x-owner": owner.value,
        "x-sealed": sealed,
    }


def _submission(spec: CommandSpec) -> dict[str, Any]:
    name = f"command.{spec.name}"
    properties = {"type": {"const": name}, "data": {"$ref": f"./schemas/{name}.json"}}
    message: dict[str, Any] = {
        "title": name,
        "summary": spec.doc,
        "payload": {
            "allOf": [{"$ref": "./schemas/envelope.submission.json"}, {"type": "object", "properties": properties}]
        },
        "x-owner": spec.owner.value,
    }
    if spec.name in FACTS:
        about = {} if access.is_creation(spec.name) else {"subject": CASE["number"]}
        example = {
            **TOLD,
            "id": f"2026-{spec.name}-1",
            "source": "demo",
            "type": name,
            **about,
            "data": FACTS[spec.name],
        }
        message["examples"] = [{"payload": example}]
    return message


def _receipt(type_: str, data: dict[str, Any]) -> dict[str, Any]:
    head = {
        "id": "5b0b5f0e-3f1c-5d9e-9f53-0a3a0a6f0c22",
        "source": "/intake",
        "type": type_,
        "subject": "2026-register-1",
    }
    return {**TOLD, **head, "sequence": 17, "command": "register", "data": data}


def _feed_item(kind: str, says: str) -> dict[str, Any]:
    properties = {"type": {"const": f"feed.{kind}"}}
    message: dict[str, Any] = {
        "title": f"feed.{kind}",
        "summary": f"{says[0].upper()}{says[1:]}.",
        "payload": {"allOf": [{"$ref": "./schemas/envelope.feed.json"}, {"type": "object", "properties": properties}]},
        "headers": {"$ref": "#/components/schemas/feed-headers"},
    }
    return message | ({"examples": [{"payload": OVERDUE}]} if kind == "overdue" else {})


def _of(schema: str, summary: str, example: dict[str, Any]) -> dict[str, Any]:
    title: str = example["type"]
    payload = {"$ref": f"./schemas/{schema}.json"}
    return {
        "title": title,
        "summary": summary,
        "payload": payload,
        "examples": [{"payload": example}],
    }


def _operations() -> dict[str, Any]:
    deciding = (Owner.INTAKE, Owner.ROUTING, Owner.SUPERVISION)
    operations: dict[str, Any] = {}
    for owner in deciding:
        types = [type_ for type_, cls in EVENTS.items() if cls.OWNER is owner]
        for kind in sorted({type_.partition(".")[0] for type_ in types}):
            own = [type_ for type_ in types if type_.startswith(f"{kind}.")]
            operations[f"{owner}-appends-{kind}"] = _operation("send", f"log-{kind}", own)
        taken = [f"command.{spec.name}" for spec in _offered() if spec.owner is owner]
        operations[f"{owner}-takes-submissions"] = _operation("receive", "submissions", taken)
        operations[f"{owner}-answers"] = _operation("send", "receipts", ["submission.accepted", "submission.refused"])
    feed = [f"feed.{kind}" for kind in FeedKind]
    operations["supervision-writes-feeds"] = _operation("send", "feeds", feed)
    operations["supervision-marks-feeds"] = _operation("send", "feed-mark", ["feed.mark"])
    operations["intake-tells-progress"] = _operation("send", "progress", ["case.progress"])
    for owner in Owner:
        for kind in KINDS:
            operations[f"{owner}-reads-{kind}"] = _operation("receive", f"log-{kind}", None)
        operations[f"{owner}-follows-reference"] = _operation("receive", "reference", None)
    return operations


def _operation(action: str, channel: str, messages: list[str] | None) -> dict[str, Any]:
    operation: dict[str, Any] = {"action": action, "channel": {"$ref": f"#/channels/{channel}"}}
    if messages is not None:
        operation["messages"] = [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in messages]
    return operation
