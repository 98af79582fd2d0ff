"""The body of a notice to a resident: its text, from a template, and the phone number, from the registration.

The number exists in memory for the duration of one request. It is stored in no table and written to no log or trace.
Each reporter of a case gets a notice of their own: the reporter of the registration, and those of the attached repeats
(petitions regulation, article 19). A repeat that was a case of its own is named by its own number. Another repeat has
no number, and its text names none: neither reporter may see the other's part.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from string import Formatter
from typing import Any
from zoneinfo import ZoneInfo

import yaml
from pydantic_core import from_json, to_json

from shared.case import events as e
from shared.case.announcements import NoticeTemplate
from shared.case.base import Address, Recorded
from shared.case.facts import Parties, PartyRole
from shared.case.state import CaseState
from shared.kit.access import Caller, may_notify
from shared.kit.application import Application
from shared.kit.feed_item import FeedItem
from shared.kit.seal import unseal_fields
from shared.kit.settings import BadSettings
from shared.kit.vault import KeyErased

SHIPPED_TEMPLATES = Path(__file__).with_suffix(".yaml")
NOTICE_CHARS_MAX = 200  # three parts of a text message
TEMPLATE_CHARS_MAX = 140
FIELDS = frozenset({"number", "unit", "due", "path"})
NO_PATH = "向受理窗口咨询"  # an invalid demand has no other legal path
_PHONE = re.compile(r"\+?[0-9]{5,20}")
_PHONE_LAYOUT = str.maketrans("", "", " -()（）\t\u3000")


class NoNotice(Exception):
    """The item is withheld from the receiver; `reason` is a code that others may read."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Reporter:
    """A reporter of a case: the phone number, and the number of their own case.

    `phone` is None where they get no notice; `reason` is the code of why. `number` is None for a repeat without a case
    of its own.
    """

    phone: str | None
    number: str | None = None
    reason: str = "no_number"


class NoticeTexts:
    """The texts of notices: one template for each id of `NoticeTemplate`."""

    def __init__(self, templates: dict[str, str]) -> None:
        self._templates = templates

    @classmethod
    def load(cls, path: Path) -> NoticeTexts:
        """Read a YAML file of `id: text`. Raises BadSettings with the template that cannot be used, and why."""
        try:
            templates = yaml.safe_load(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise BadSettings(f"{path} cannot be read ({type(error).__name__}): write one `id: text` a line") from None
        if not isinstance(templates, dict) or not set(templates) <= set(NoticeTemplate):
            raise BadSettings(f"{path} may hold {', '.join(sorted(NoticeTemplate))} and nothing else")
        for id, text in templates.items():
            if not isinstance(text, str) or not 0 < len(text) <= TEMPLATE_CHARS_MAX:
                raise BadSettings(f"{path}: {id} must be a text of at most {TEMPLATE_CHARS_MAX} characters")
            if not _fields(text) <= FIELDS:
                raise BadSettings(f"{path}: {id} may name {{number}}, {{unit}}, {{due}} and {{path}} and nothing else")
        return cls(templates if path == SHIPPED_TEMPLATES else cls.load(SHIPPED_TEMPLATES)._templates | templates)

    def fill(self, template: str, number: str, unit: str, due: str, path: str = "") -> str:
        """The text, at most NOTICE_CHARS_MAX characters; the legal path, then the unit, is cut where it is too long."""
        text = self._templates[template]
        over = len(text.format(number=number, unit=unit, due=due, path=path)) - NOTICE_CHARS_MAX
        if over > 0 and len(path) > over:
            path = path[: len(path) - over - 1] + "…"
        elif over > 0 and len(unit) > over:
            unit = unit[: len(unit) - over - 1] + "…"
        return text.format(number=number, unit=unit, due=due, path=path)[:NOTICE_CHARS_MAX]


def _fields(text: str) -> set[str]:
    """The fields in braces. A field that is no plain name, as `{0}` or `{x!r:>9}`, is returned whole: not allowed."""
    try:
        parts = [part for part in Formatter().parse(text) if part[1] is not None]
    except ValueError:
        return {"{"}
    return {f"{name}{conversion or ''}{spec or ''}" for _, name, spec, conversion in parts if name is not None}


class Notices:
    """Makes the bodies that a gateway receives from notice items."""

    def __init__(self, application: Application) -> None:
        self._application, self._identity = application, application.identity
        self._texts = NoticeTexts.load(self._identity.settings.notices or SHIPPED_TEMPLATES)

    async def body(self, gateway: Caller, data: bytes, item: FeedItem, state: CaseState) -> bytes:
        """The item, as FEED has it, with `to` and `text` added to its data. Raises NoNotice."""
        if state.erased:
            raise NoNotice("erased")
        if state.informant:
            raise NoNotice("informant")
        if not may_notify(gateway, state):
            raise NoNotice("not_of_gateway")
        if item.data.template not in set(NoticeTemplate):
            raise NoNotice("no_template")
        reporter = await self._reporter(item)
        payload = from_json(data)
        payload["data"] |= {"to": reporter.phone, "text": self._text(item, reporter.number)}
        return to_json(payload)

    def _text(self, item: FeedItem, number: str | None) -> str:
        data, reference_data = item.data, self._identity.reference_data
        unit = reference_data.unit(data.unit or f"{data.in_charge}-centre")
        centre = reference_data.centre_of(data.in_charge)
        name = unit.name if unit is not None else centre.name if centre is not None else ""
        due = last_day(data.due, reference_data.calendar(data.in_charge).zone) if data.due else ""
        template = NoticeTemplate(data.template or "")
        if number is None:
            template = template.for_repeat or template
        return self._texts.fill(template, number or "", name, due, data.legal_path or NO_PATH)

    async def _reporter(self, item: FeedItem) -> Reporter:
        """The reporter whom an item is for. Raises NoNotice where they have no number, or had this notice already."""
        phones: set[str | None] = set()
        reporters = self._reporters(Address.of("case", item.subject), item.data.number)
        async with aclosing(reporters):
            count = 0
            async for reporter in reporters:
                if count == (item.data.repeat or 0):
                    if reporter.phone is None:
                        raise NoNotice(reporter.reason)
                    if reporter.phone in phones:
                        raise NoNotice("same_number")
                    return reporter
                phones.add(reporter.phone)
                count += 1
        raise NoNotice("no_number")

    async def _reporters(self, case: Address, number: str) -> AsyncGenerator[Reporter, None]:
        """The reporters of a case: of the registration, then of each attached repeat in order.

        A merged case counts for its own reporter and for those of its repeats, whether the merge stands or not.
        """
        for recorded in (await self._application.history_for_service(case)).events:
            if isinstance(recorded.event, e.Registered):
                yield await self._by_event(recorded, number)
            elif isinstance(recorded.event, e.Attached):
                merged_from = recorded.event.merged_from
                if merged_from is None:
                    yield await self._by_event(recorded, None)
                    continue
                places = 1 + (recorded.event.merged_repeats or 0)
                async for reporter in self._of_merged(Address.of("case", merged_from), case, places):
                    yield reporter

    async def _of_merged(self, merged: Address, into: Address, places: int) -> AsyncGenerator[Reporter, None]:
        state = (await self._application.load_for_service(merged)).state
        if state.merged_into == into.id and not state.erased:
            async for reporter in self._reporters(merged, self._application.data.number(merged, state)):
                if not places:
                    return
                places -= 1
                yield reporter
        for _ in range(places):
            yield Reporter(None, reason="erased" if state.erased else "not_merged")

    async def _by_event(self, recorded: Recorded[Any], number: str | None) -> Reporter:
        id = recorded.address.id
        if recorded.known.reporter is None:
            return Reporter(None)
        try:
            key = await self._application.data.vault.key(id)
            event = unseal_fields(recorded.known, key, id, recorded.id)
        except KeyErased:
            return Reporter(None, reason="erased")
        parties = event.reporter.parties if isinstance(event.reporter, Parties) else ()
        for party in parties:
            phone = party.phone.translate(_PHONE_LAYOUT)
            if party.role is PartyRole.REPORTER and _PHONE.fullmatch(phone):
                return Reporter(phone, number)
        return Reporter(None)


def last_day(due: datetime, zone: str) -> str:
    """The last day of a time limit, as text. A limit that is due at 24:00 ends on the day before that midnight."""
    day = (due - timedelta(seconds=1)).astimezone(ZoneInfo(zone))
    return f"{day.year}年{day.month}月{day.day}日"
