"""Notices to residents on their way out: the text from its template, the number unsealed from the registration.

The number is known here for as long as a request lasts: it is kept in no table, written to no log and told to no trace.
Told is the reporter of the registration. Reporters of repeats attached to a case are not told of it: neither reporter
sees the other's part, and the case's number is not theirs.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path
from string import Formatter
from zoneinfo import ZoneInfo

import yaml
from pydantic_core import from_json, to_json

from services.supervision.feed.items import FeedItem
from shared.case import events as e
from shared.case.announcements import NoticeTemplate
from shared.case.base import Address
from shared.case.facts import Parties, PartyRole
from shared.case.state import CaseState
from shared.kit.access import Caller, may_notify
from shared.kit.application import Application
from shared.kit.seal import unseal_fields
from shared.kit.settings import BadSettings
from shared.kit.vault import KeyErased

SHIPPED = Path(__file__).with_suffix(".yaml")
TEXT_CHARS_MAX = 200  # three parts of a text message
TEMPLATE_CHARS_MAX = 140
FIELDS = frozenset({"number", "unit", "due"})
_PHONE = re.compile(r"\+?[0-9]{5,20}")
_LAID_OUT = str.maketrans("", "", " -()（）\t\u3000")


class NoNotice(Exception):
    """Nobody is told; `why` is a code in the open."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Texts:
    """The templates by their id."""

    def __init__(self, templates: dict[str, str]) -> None:
        self._templates = templates

    @classmethod
    def load(cls, path: Path) -> Texts:
        """Read a YAML file of `id: text`. Raises BadSettings that says which one cannot be used, and why."""
        try:
            told = yaml.safe_load(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise BadSettings(f"{path} cannot be read ({type(error).__name__}): write one `id: text` a line") from None
        if not isinstance(told, dict) or set(told) != set(NoticeTemplate):
            raise BadSettings(f"{path} must hold exactly {', '.join(sorted(NoticeTemplate))}")
        for id, text in told.items():
            if not isinstance(text, str) or not 0 < len(text) <= TEMPLATE_CHARS_MAX:
                raise BadSettings(f"{path}: {id} must be a text of at most {TEMPLATE_CHARS_MAX} characters")
            if not _fields(text) <= FIELDS:
                raise BadSettings(f"{path}: {id} may name {{number}}, {{unit}} and {{due}} and nothing else")
        return cls(told)

    def fill(self, template: str, number: str, unit: str, due: str) -> str:
        """The text, at most TEXT_CHARS_MAX characters: a unit's name that is too long for it is cut."""
        text = self._templates[template]
        whole = text.format(number=number, unit=unit, due=due)
        over = len(whole) - TEXT_CHARS_MAX
        if over > 0 and len(unit) > over:
            whole = text.format(number=number, unit=unit[: len(unit) - over - 1] + "…", due=due)
        return whole[:TEXT_CHARS_MAX]


def _fields(text: str) -> set[str]:
    """The names in braces; what no plain name is, as `{0}` or `{x!r:>9}`, comes back as it is not allowed."""
    try:
        parts = [part for part in Formatter().parse(text) if part[1] is not None]
    except ValueError:
        return {"{"}
    return {f"{name}{conversion or ''}{spec or ''}" for _, name, spec, conversion in parts if name is not None}


class Notices:
    """Makes of a notice item what a gateway sends."""

    def __init__(self, application: Application) -> None:
        self._application, self._identity = application, application.identity
        self._texts = Texts.load(self._identity.settings.notices or SHIPPED)

    async def body(self, gateway: Caller, data: bytes, item: FeedItem, state: CaseState) -> bytes:
        """The item, as FEED has it, with `to` and `text` in its data. Raises NoNotice."""
        if state.erased:
            raise NoNotice("erased")
        if state.informant:
            raise NoNotice("informant")
        if not may_notify(gateway, state):
            raise NoNotice("not_of_gateway")
        if item.data.template not in set(NoticeTemplate):
            raise NoNotice("no_template")
        told = from_json(data)
        told["data"] |= {"to": await self._number(item.subject), "text": self._text(item)}
        return to_json(told)

    def _text(self, item: FeedItem) -> str:
        data, library = item.data, self._identity.reference_data
        row = library.unit(data.unit or f"{data.in_charge}-centre")
        centre = library.centre_of(data.in_charge)
        name = row.name if row is not None else centre.name if centre is not None else ""
        due = last_day(data.due, library.calendar(data.in_charge).zone) if data.due else ""
        return self._texts.fill(data.template or "", data.number, name, due)

    async def _number(self, case_id: str) -> str:
        address = Address.of("case", case_id)
        events = (await self._application.history_for_service(address)).events
        first = events[0] if events else None
        if first is None or not isinstance(first.event, e.Registered) or first.event.reporter is None:
            raise NoNotice("no_number")
        try:
            key = await self._application.data.vault.key(case_id)
            event = unseal_fields(first.event, key, case_id, first.id)
        except KeyErased:
            raise NoNotice("erased") from None
        people = event.reporter.parties if isinstance(event.reporter, Parties) else ()
        for one in people:
            phone = one.phone.translate(_LAID_OUT)
            if one.role is PartyRole.REPORTER and _PHONE.fullmatch(phone):
                return phone
        raise NoNotice("no_number")


def last_day(due: datetime, zone: str) -> str:
    """The last day of a time limit: one that ends at 24:00 ends on the day before."""
    day = (due - timedelta(seconds=1)).astimezone(ZoneInfo(zone))
    return f"{day.year}年{day.month}月{day.day}日"
