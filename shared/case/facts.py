"""The facts of a case: the closed word lists, and the fields that a command and its event have in common.

Channels are those of clause 8.2 a, natures those of the 12345 ordinances, outcomes and ratings those of the rates in
docs/glossary.md. Each fact is defined here once: a command asks for it, its event records it.
"""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints, model_validator

from shared.case.base import CaseId, Code, Facts, Filled, Frozen, PersonId, Private, Reference, Region, UnitCode

TITLE_CHARS_MAX = 200
TEXT_CHARS_MAX = 10_000
SHORT_CHARS_MAX = 300
PARTIES_MAX = 50
ATTACHMENTS_MAX = 20
CO_UNITS_MAX = 20
CASES_PER_ORDER_MAX = 100
PARTS_MAX = 10
CALENDARS_MAX = 50  # documents by which one deadline was counted


def _empty(value: object) -> bool:
    """Whether a field that older events lack is left out where they are shown."""
    return not value


def _printable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("the text holds a NUL character; remove it")
    return text


Title = Annotated[str, StringConstraints(min_length=1, max_length=TITLE_CHARS_MAX), AfterValidator(_printable)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=TEXT_CHARS_MAX), AfterValidator(_printable)]
Short = Annotated[str, StringConstraints(max_length=SHORT_CHARS_MAX), AfterValidator(_printable)]


class Channel(StrEnum):
    """The channel by which a demand reached the centre (clause 8.2 a; petitions regulation, article 17)."""

    LETTER = "letter"
    CALL = "call"
    VISIT = "visit"
    WEB = "web"
    APP = "app"
    GRID = "grid"
    TRANSFER = "transfer"
    SUPERIOR = "superior"
    PLATFORM = "platform"


class Nature(StrEnum):
    """Consultation, help, complaint, report, suggestion, praise or dispute (Beijing 12345, article 2)."""

    CONSULTATION = "consultation"
    HELP = "help"
    COMPLAINT = "complaint"
    REPORT = "report"
    SUGGESTION = "suggestion"
    PRAISE = "praise"
    DISPUTE = "dispute"


class Severity(StrEnum):
    """The four grades of the emergency response law, article 3. `general` is the lowest."""

    GENERAL = "general"
    LARGER = "larger"
    MAJOR = "major"
    EXTREME = "extreme"


class Retention(StrEnum):
    """The retention class: how long the content is kept (clause 9.4 b)."""

    MONTHS_3 = "months_3"
    MONTHS_6 = "months_6"
    YEAR_1 = "year_1"
    PERMANENT = "permanent"


class Outcome(StrEnum):
    """The result of handling (Beijing 12345, article 32: the settlement rate)."""

    SOLVED = "solved"
    PARTLY = "partly"
    UNSOLVED = "unsolved"
    EXPLAINED = "explained"


class Satisfaction(StrEnum):
    """The satisfaction of the resident (Beijing 12345, article 32: the satisfaction rate)."""

    SATISFIED = "satisfied"
    BASICALLY = "basically"
    DISSATISFIED = "dissatisfied"
    UNRATED = "unrated"


class Stage(StrEnum):
    """The stages that have a clock (clause 5.1.3 a: handling within a time limit)."""

    TRIAGE = "triage"
    SIGN = "sign"
    HANDLE = "handle"
    CO_HANDLE = "co_handle"
    FEEDBACK = "feedback"
    REPORT = "report"


class DeclineReason(StrEnum):
    """The reason why a centre declines a matter (Beijing 12345, article 11; Weifang 12345, article 19)."""

    IN_LITIGATION = "in_litigation"
    IN_ARBITRATION = "in_arbitration"
    IN_DISCIPLINE = "in_discipline"
    IN_REVIEW = "in_review"
    DISCLOSURE = "disclosure"
    PETITION_ENDED = "petition_ended"
    SECRET = "secret"
    EMERGENCY_LINE = "emergency_line"
    INVALID = "invalid"


class PauseCause(StrEnum):
    """The cause of a pause (petitions regulation, article 36: a hearing; missing papers; waiting for the resident)."""

    HEARING = "hearing"
    PAPERS = "papers"
    RESIDENT = "resident"


class OrderKind(StrEnum):
    """The kind of a supervision order: ordinary, on site, listed (Weifang 12345, article 26)."""

    ORDINARY = "ordinary"
    ON_SITE = "on_site"
    LISTED = "listed"


class Hold(StrEnum):
    """The reason of a hold: an import, from registration on (the clock of its file rules), or a legal reason.

    A case that is held may not be erased.
    """

    IMPORT = "import"
    LEGAL = "legal"


class TimeBase(StrEnum):
    """The three bases of a time limit."""

    HOURS = "hours"
    CALENDAR_DAYS = "calendar_days"
    WORKING_DAYS = "working_days"


class Ends(StrEnum):
    """The end of the last day of a limit (Civil Code, 203): 24:00, the close of office, or the same time of day.

    A limit in hours with `OFFICE` counts office hours only.
    """

    DAY = "day"
    OFFICE = "office"
    CLOCK = "clock"


class PartyRole(StrEnum):
    """The role of a person in the case."""

    REPORTER = "reporter"
    PARTY = "party"
    REPRESENTATIVE = "representative"
    OTHER = "other"


class Party(Frozen):
    """A person who is party to a case. Sealed; only posts that need it may read it."""

    role: PartyRole = PartyRole.REPORTER
    name: Short = ""
    phone: Short = ""
    id_number: Short = ""
    address: Short = ""


class Parties(Frozen):
    """The people of one demand (petitions regulation, article 19)."""

    parties: Annotated[tuple[Party, ...], Field(max_length=PARTIES_MAX)] = ()


class Matter(Frozen):
    """The demand in the words of the resident: the main content of a case. Sealed."""

    title: Title
    text: Text
    address: Short = ""
    file_names: Annotated[tuple[Short, ...], Field(max_length=ATTACHMENTS_MAX)] = ()


class Note(Frozen):
    """A text written in the course of handling. Sealed."""

    text: Text
    file_names: Annotated[tuple[Short, ...], Field(max_length=ATTACHMENTS_MAX)] = ()


class Attachment(Frozen):
    """A sealed object: its name in the object store, the SHA-256 and the size of its plain bytes, its media type."""

    object: Code
    digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    size_bytes: Annotated[int, Field(gt=0, le=1 << 30)]
    media_type: Annotated[str, StringConstraints(pattern=r"^[a-z]+/[A-Za-z0-9.+-]{1,80}$")]


Attachments = Annotated[tuple[Attachment, ...], Field(max_length=ATTACHMENTS_MAX)]
Units = Annotated[tuple[UnitCode, ...], Field(max_length=CO_UNITS_MAX)]
Basis = Annotated[str, StringConstraints(max_length=SHORT_CHARS_MAX)]


class KeptFrom(Facts):
    """The exclusions of a case: the unit complained of, the people who must stand aside, and the mark of an informant.

    Petitions regulation, articles 28, 30 and 46. A later event may add exclusions and removes none.
    """

    complained_unit: UnitCode | None = None
    stand_aside: Annotated[tuple[PersonId, ...], Field(max_length=PARTIES_MAX)] = ()
    informant: bool = False


class Demand(KeptFrom):
    """The demand of one resident as received. The first demand creates a case, a repeat is attached to it."""

    channel: Channel
    contact_time: AwareDatetime
    matter: Private[Matter]
    reporter: Private[Parties] | None = None
    attachments: Attachments = ()
    people_count: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    source: Filled[Code | None] = None
    source_id: Filled[Annotated[str, StringConstraints(min_length=1, max_length=128)] | None] = None


class Registration(Demand):
    """The creation of a case (clause 11.1: the person first asked registers at once and stays on the case for ever)."""

    region: Region
    nature: Nature
    subject: Code | None = None
    severity: Severity = Severity.GENERAL
    retention: Retention = Retention.YEAR_1
    first_asked: PersonId
    first_asked_unit: UnitCode
    grid: Annotated[str, StringConstraints(pattern=r"^[0-9]{15}$")] | None = None
    answer: Private[Note] | None = None
    parent: CaseId | None = None
    handed_by: Region | None = None
    hold: Hold | None = None


class Classification(Facts):
    """Nature, subject and severity of a case, as stated by the triage desk or by a correction."""

    nature: Nature | None = None
    subject: Code | None = None
    severity: Severity | None = None


class Handlers(Facts):
    """One responsible unit and any number of co-handling units (clauses 5.1.1 b and c), with the basis."""

    unit: UnitCode
    co_units: Units = ()
    basis: Basis = ""


class Routed(Handlers):
    """The units, with the rule of a reference document that decided, and the version of the document."""

    rule: Code | None = None
    rule_reference: Reference | None = None


class Explained(Facts):
    """The reason in words, sealed like every free text."""

    note: Private[Note]


class Allowance(Frozen):
    """The extensions and pauses that a limit allows (petitions regulation, 34 and 36).

    The post `extend_by` approves extensions, at most `extend_times_max` of them, never beyond `extend_until`: the end
    of the limit with `extend_max` more units of its base. Clocks that older programs set have `extend_until` alone. A
    pause has one of the causes in `pauses`. A maximum of 0 sets no bound.
    """

    extend_by: Code | None = None
    extend_max: Annotated[int, Field(ge=0, le=10_000, exclude_if=_empty)] = 0
    extend_until: AwareDatetime | None = None
    extend_times_max: Annotated[int, Field(ge=0, le=100)] = 0
    pauses: Annotated[tuple[PauseCause, ...], Field(max_length=len(PauseCause))] = ()
    pause_times_max: Annotated[int, Field(ge=0, le=100)] = 0
    pause_days_max: Annotated[int, Field(ge=0, le=3_660)] = 0


class Deadline(Frozen):
    """One clock: its stage, its start, its due moment, and the source of its limit.

    `warn_at` is the moment to warn, `warn` units of `base` before `due`. `legal_basis` names the article, or marks the
    limit as custom; `choice` is the reason why this limit applies. `unit` distinguishes the co-handling clocks of one
    case. `last_day` is the last day counted, before any move over days off. Without `allows` extensions and pauses
    have no bounds. `calendar_reference` is the document with the days off around the due moment, `calendars` are all
    documents by which the time was counted.
    """

    stage: Stage
    start: AwareDatetime
    due: AwareDatetime
    warn_at: AwareDatetime | None = None
    base: TimeBase
    amount: Annotated[int, Field(gt=0, le=10_000)]
    legal_basis: Basis = ""
    limit_reference: Reference | None = None
    calendar_reference: Reference | None = None
    calendars: Annotated[tuple[Reference, ...], Field(max_length=CALENDARS_MAX, exclude_if=_empty)] = ()
    unit: UnitCode | None = None
    ends: Ends = Ends.DAY
    last_day: date | None = None
    warn: Annotated[int, Field(ge=0, le=10_000)] = 0
    choice: Basis = ""
    allows: Allowance | None = None

    @model_validator(mode="after")
    def _due_after_start(self) -> Self:
        if self.due <= self.start:
            raise ValueError("due must lie after start")
        return self

    @property
    def terms(self) -> tuple[object, ...]:
        """The terms of the limit: deadlines that differ in them follow different limits."""
        return self.base, self.amount, self.ends, self.legal_basis


class Part(Frozen):
    """One part of a case that is split: region, nature and subject of the new case. Its id follows from the split."""

    region: Region
    nature: Nature
    subject: Code | None = None


class PartMatters(Frozen):
    """The matter of each part of a split case, in the order of the parts. Sealed."""

    matters: Annotated[tuple[Matter, ...], Field(min_length=2, max_length=PARTS_MAX)]
