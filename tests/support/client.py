"""HTTP requests of the demo's people, and checks of the answers."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import httpx
import pytest

TOWNSHIP, COUNTY, CITY, PROVINCE = "510104017000", "510104000000", "510100000000", "510000000000"
OTHER_TOWNSHIP, OTHER_COUNTY = "510104022000", "510703000000"
HOUSING, POLICE, LABOUR = (f"{COUNTY}-{name}" for name in ("housing", "police", "labour"))
WAIT_S_MAX = 10.0
POLL_S = 0.02
COMPLETE_POLLS_MAX = 10  # each waits for two seconds by itself
NOTE = {"text": "已与当事人联系，情况属实。"}
_keys = count(1)

MATTER: dict[str, Any] = {
    "channel": "visit",
    "region": TOWNSHIP,
    "nature": "complaint",
    "title": "小区物业不作为",
    "text": "物业公司乱收停车费，电梯坏了一个月没人修。",
    "parties": [{"name": "张三", "phone": "13800000000"}],
}  # the rule `property` triages it to the county's housing department
UNRULED = {**MATTER, "nature": "help", "title": "一件小事", "text": "想请工作人员帮忙看看。"}  # no rule fits


@dataclass(frozen=True)
class Case:
    """A case, from the answer to its registration."""

    id: str
    number: str
    secret: str
    position: str
    path: str = ""


class Desk:
    """An HTTP client of all services for the people of the demo: `desk.post("jj-window", "/intake/cases", body)`."""

    def __init__(self, url: str, timeout_s: float = 15.0) -> None:
        self.client = httpx.Client(base_url=url, timeout=timeout_s, headers={"Accept-Language": "en"})

    def close(self) -> None:
        self.client.close()

    def send(self, method: str, person: str | None, path: str, **options: Any) -> httpx.Response:
        """Send a request as `person` of the demo; None sends no token."""
        headers = dict(options.pop("headers", {}))
        if path.startswith("/intake/public/") and "secret" in (options.get("params") or {}):
            options["params"] = dict(options["params"])
            headers["Case-Secret"] = options["params"].pop("secret")
        if person is not None:
            headers.setdefault("Authorization", f"Bearer demo-{person}")
        return self.client.request(method, path, headers=headers, **options)

    def post(
        self, person: str, path: str, body: Any, key: str | None = None, if_match: str | None = None
    ) -> httpx.Response:
        headers = {"Idempotency-Key": key, "If-Match": if_match}
        return self.send("POST", person, path, json=body, headers={n: value for n, value in headers.items() if value})

    def etag(self, id: str, person: str = "cd-director", kind: str = "cases") -> str:
        """The ETag of a case or an order as it now is."""
        return str(self.get(person, f"/reporting/{kind}/{id}").headers["etag"])

    def get(self, person: str | None, path: str, **params: Any) -> httpx.Response:
        return self.send("GET", person, path, params=params)

    def complete(self, person: str, path: str, after: str, **params: Any) -> dict[str, Any]:
        """The answer of a query once its read model has seen a position; each request waits for it as well."""
        for _ in range(COMPLETE_POLLS_MAX):
            answer: dict[str, Any] = self.get(person, path, after=after, **params).json()
            if answer["complete"]:
                return answer
        raise AssertionError(f"{path} did not see {after}")

    def ok(self, person: str, path: str, body: Any, key: str | None = None) -> dict[str, Any]:
        """Send a command that must be accepted; returns its answer. Raises AssertionError otherwise.

        A decision that replaces another names the state that was read, and the newer one where it has changed.
        """
        answer = self.post(person, path, body, key)
        if answer.status_code == 428:
            _, _, kind, id, _ = path.split("/")
            answer = self.post(person, path, body, key, self.etag(id, kind=kind))
        while answer.status_code == 412:
            answer = self.post(person, path, body, key, answer.headers["etag"])
        assert answer.status_code in (200, 201), f"{path} as {person}: {answer.status_code} {answer.text}"
        document: dict[str, Any] = answer.json()
        return document

    def refused(self, status: int, code: str, person: str, path: str, body: Any, key: str | None = None) -> Any:
        """Send a command that must be refused with this status and code; returns the problem."""
        answer = self.post(person, path, body, key)
        problem = answer.json()
        assert (answer.status_code, problem.get("code")) == (status, code), f"{path} as {person}: {answer.text}"
        assert answer.headers["content-type"] == "application/problem+json"
        return problem

    def register(self, person: str = "jj-window", **changed: Any) -> Case:
        """Register a case of its own. A rule triages it, unless `changed` makes no rule fit."""
        answer = self.ok(person, "/intake/cases", {**MATTER, **changed}, new_key())
        return Case(answer["id"], answer["number"], answer["secret"], answer["position"])

    def timeline(self, case: str, person: str = "cd-director") -> dict[str, Any]:
        """The state and the events of a case, straight from the log."""
        answer = self.get(person, f"/reporting/cases/{case}")
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def state(self, case: str, person: str = "cd-director") -> dict[str, Any]:
        state: dict[str, Any] = self.timeline(case, person)["state"]
        return state

    def types(self, case: str, person: str = "cd-director") -> list[str]:
        """The event types of a case in order, without those of its clocks, whose moment varies."""
        types = [entry["type"] for entry in self.timeline(case, person)["timeline"]]
        return [type for type in types if type != "case.deadlines_set"]

    def until_clocked(self, case: str, person: str = "cd-director") -> dict[str, Any]:
        """Poll until the running stage of the case has its clock."""
        end = time.monotonic() + WAIT_S_MAX
        while True:
            state = self.state(case, person)
            if any(clock.get("ended_at") is None for clock in state.get("clocks", ())):
                return state
            if time.monotonic() > end:
                pytest.fail(f"waited {WAIT_S_MAX:.0f} s for a clock: {state}")
            time.sleep(POLL_S)

    def until(self, case: str, person: str = "cd-director", **values: Any) -> dict[str, Any]:
        """Poll until the state of a case holds these values, for changes that reactions make."""
        end = time.monotonic() + WAIT_S_MAX
        while True:
            state = self.state(case, person)
            if all(state.get(name) == value for name, value in values.items()):
                return state
            if time.monotonic() > end:
                pytest.fail(f"waited {WAIT_S_MAX:.0f} s for {values}: {state}")
            time.sleep(POLL_S)

    def assigned(self, **changed: Any) -> Case:
        """A case that a rule triaged and assigned to the county's housing department."""
        case = self.register(**changed)
        self.until(case.id, status="assigned")
        return case

    def handled(self, **changed: Any) -> Case:
        """A case that the department has signed for."""
        case = self.assigned(**changed)
        self.ok("jj-housing", f"/routing/cases/{case.id}/sign-for", {"unit": HOUSING, "person": "jj-housing-1"})
        return case

    def settled(self, **changed: Any) -> Case:
        """A settled case."""
        case = self.handled(**changed)
        self.ok("jj-housing-1", f"/routing/cases/{case.id}/settle", SETTLE)
        return case

    def closed(self, **changed: Any) -> Case:
        """A case that the centre has closed."""
        case = self.settled(**changed)
        self.ok("jj-director", f"/routing/cases/{case.id}/close", {})
        return case

    def ended_long_ago(self, **changed: Any) -> Case:
        """A closed case whose content need not be kept any longer: it was closed two years ago."""
        case = self.register(**{**UNRULED, "answer": "已当场答复。", "contact_time": LONG_AGO, **changed})
        self.ok("jj-director", f"/routing/cases/{case.id}/close", {"time": LONG_AGO})
        return case

    def waiting(self, **changed: Any) -> Case:
        """A case that fits no rule and waits at the triage desk."""
        return self.register(**{**UNRULED, **changed})


LONG_AGO = (datetime.now(UTC) - timedelta(days=730)).isoformat()
ERASE = {"retention": "year_1", "basis": "保存期满"}
SETTLE = {"outcome": "solved", "reply": {"text": "电梯已修复，停车费已退还。"}, "basis": "物业管理条例第四十五条"}


def new_key() -> str:
    """An Idempotency-Key that no other request of this process has."""
    return f"key-{next(_keys)}-{time.time_ns()}"


def lines(answer: httpx.Response) -> Sequence[Mapping[str, Any]]:
    """The lines of an NDJSON answer."""
    return [json.loads(line) for line in answer.text.splitlines() if line]
