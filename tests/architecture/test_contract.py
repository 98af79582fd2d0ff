"""The contract is what the program says, its references lead somewhere, and its examples are what it describes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from pydantic import BaseModel

from infra.dev import seed_calendars
from infra.dev.generate import CONTRACT, differences
from shared.case.catalogue import EVENTS
from shared.case.commands import COMMANDS
from shared.kit import access
from shared.kit.feed_item import FeedItem
from shared.kit.problems import Problem
from shared.kit.seal import seal_fields
from shared.kit.submission import Envelope, Progress, Receipt
from shared.log.envelope import encode_event
from tests.support.clock import FakeClock
from tests.support.law import history

SAMPLES = Path(__file__).parents[2] / "shared" / "case" / "samples"
SCHEMAS = {path.name: json.loads(path.read_text()) for path in sorted((CONTRACT / "schemas").glob("*.json"))}


def validator(schema: Any) -> jsonschema_rs.Validator:
    """With every schema at hand under the name that `$ref`s give it."""
    registry = jsonschema_rs.Registry([(f"json-schema:///schemas/{name}", one) for name, one in SCHEMAS.items()])
    return jsonschema_rs.validator_for(schema, registry=registry, validate_formats=True)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CONTRACT / "asyncapi.yaml").read_text())
    return loaded


def nodes(data: Any) -> Iterator[dict[str, Any]]:
    """Every object inside a document."""
    if isinstance(data, dict):
        yield data
    for part in data.values() if isinstance(data, dict) else data if isinstance(data, list) else ():
        yield from nodes(part)


def test_it_is_what_the_program_says() -> None:
    assert differences() == [], "run `make generate` and look at what changed"
    assert seed_calendars.is_current(), "run `make generate`: the calendars of the demo are not those of the package"


def test_what_was_edited_or_forgotten_is_found(tmp_path: Path) -> None:
    for path in CONTRACT.rglob("*"):
        if path.is_file():
            copy = tmp_path / path.relative_to(CONTRACT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(path.read_text())
    (tmp_path / "EVENTS.md").write_text("edited")
    (tmp_path / "schemas" / "case.closed.v1.json").unlink()
    (tmp_path / "schemas" / "case.flown.v1.json").write_text("{}")
    assert differences(tmp_path) == ["EVENTS.md", "schemas/case.closed.v1.json", "schemas/case.flown.v1.json"]


@pytest.mark.parametrize("name", sorted(path.name for path in SAMPLES.glob("*.json")))
def test_released_samples_are_of_their_schema(name: str) -> None:
    """A version that gained optional fields has further samples, `+1` and on."""
    version = re.sub(r"\+[0-9]+", "", name)
    validator(SCHEMAS[version]).validate(json.loads((SAMPLES / name).read_text()))


def test_a_schema_refuses_content_in_the_open_and_tolerates_what_is_new() -> None:
    sample = json.loads((SAMPLES / "case.registered.v1.json").read_text())
    judge = validator(SCHEMAS["case.registered.v1.json"])
    assert judge.is_valid(sample | {"of_a_newer_program": 1})
    assert not judge.is_valid(sample | {"matter": {"title": "x", "text": "y"}})
    assert not judge.is_valid({key: value for key, value in sample.items() if key != "region"})


def test_what_stands_on_the_log_is_of_the_envelope() -> None:
    judge = validator(SCHEMAS["envelope.event.json"])
    for recorded in history("closed"):
        sealed = seal_fields(recorded.known, b"k" * 32, recorded.address.id, recorded.id, FakeClock())
        body = json.loads(encode_event(replace(recorded, event=sealed)))
        judge.validate(body)
        validator(SCHEMAS[f"{body['type']}.v{body['version']}.json"]).validate(body["data"])


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for node in nodes(document):
        target = node.get("$ref")
        if not isinstance(target, str):
            continue
        if target.startswith("./schemas/"):
            assert target.removeprefix("./schemas/") in SCHEMAS
            continue
        place: Any = document
        for part in target.removeprefix("#/").split("/"):
            assert part in place, target
            place = place[part]


def test_every_parameter_of_an_address_is_declared(document: dict[str, Any]) -> None:
    for name, channel in document["channels"].items():
        parts = {part[1:-1] for part in channel["address"].split(".") if part.startswith("{")}
        assert parts == set(channel["parameters"]), name
        assert channel["x-jetstream"]["stream"]


def test_examples_are_what_they_are_examples_of(document: dict[str, Any]) -> None:
    models: dict[str, type[BaseModel]] = {
        "command": Envelope,
        "submission": Receipt,
        "case": Progress,
        "feed": FeedItem,
    }
    count = 0
    for message in document["components"]["messages"].values():
        for example in message.get("examples", ()):
            payload = example["payload"]
            whole = json.loads(json.dumps(message["payload"]).replace('"./schemas/', '"json-schema:///schemas/'))
            validator(whole).validate(payload)
            read = models[payload["type"].partition(".")[0]].model_validate(payload)
            if isinstance(read, Receipt):
                assert isinstance(read.data, Problem) == (read.type == "submission.refused")
            count += 1
    assert count >= 7


def test_an_example_that_is_wrong_is_refused(document: dict[str, Any]) -> None:
    message = document["components"]["messages"]["command.register"]
    whole = json.loads(json.dumps(message["payload"]).replace('"./schemas/', '"json-schema:///schemas/'))
    wrong = message["examples"][0]["payload"] | {"data": {"channel": "pigeon"}}
    assert not validator(whole).is_valid(wrong)


def test_every_command_that_may_be_sent_has_a_schema_and_a_message(document: dict[str, Any]) -> None:
    wanted = {f"command.{name}" for name in COMMANDS if access.offered(name)}
    assert {name.removesuffix(".json") for name in SCHEMAS if name.startswith("command.")} == wanted
    assert set(document["channels"]["submissions"]["messages"]) == wanted
    on_log = {name for kind in ("case", "order") for name in document["channels"][f"log-{kind}"]["messages"]}
    assert on_log == set(EVENTS)
