"""What can be said about a case: the closed word lists and the facts that a command and its event have in common.

Channels are those of clause 8.2 a, natures those of the 12345 ordinances, outcomes and ratings those of
the rates in docs/glossary.md. Each fact is stated here once; `commands.py` asks for it, `events.py` records it.
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


def _printable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("the text holds a NUL character; remove it")
    return text


Title = Annotated[str, StringConstraints(min_length=1, max_length=TITLE_CHARS_MAX), AfterValidator(_printable)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=TEXT_CHARS_MAX), AfterValidator(_printable)]
Short = Annotated[str, StringConstraints(max_length=SHORT_CHARS_MAX), AfterValidator(_printable)]


class Channel(StrEnum):
    """How it reached the centre (clause 8.2 a; petitions regulation, article 17)."""

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
    """What is wanted: consultation, help, complaint, report, suggestion, praise, dispute (Beijing 12345, article 2)."""

    CONSULTATION = "consultation"
    HELP = "help"
    COMPLAINT = "complaint"
    REPORT = "report"
    SUGGESTION = "suggestion"
    PRAISE = "praise"
    DISPUTE = "dispute"


class Severity(StrEnum):
    """The four grades of the emergency response law, article 3; `general` is the lowest."""

    GENERAL = "general"
    LARGER = "larger"
    MAJOR = "major"
    EXTREME = "extreme"


class Retention(StrEnum):
    """How long the content is kept (clause 9.4 b)."""

    MONTHS_3 = "months_3"
    MONTHS_6 = "months_6"
    YEAR_1 = "year_1"
    PERMANENT = "permanent"


class Outcome(StrEnum):
    """What handling came to (Beijing 12345, article 32: the settlement rate)."""

    SOLVED = "solved"
    PARTLY = "partly"
    UNSOLVED = "unsolved"
    EXPLAINED = "explained"


class Satisfaction(StrEnum):
    """How content the resident is (Beijing 12345, article 32: the satisfaction rate)."""

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
    """Why a centre does not take a matter up (Beijing 12345, article 11; Weifang 12345, article 19)."""

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
    """What stops a clock (petitions regulation, article 36: a hearing; missing papers; waiting for the resident)."""

    HEARING = "hearing"
    PAPERS = "papers"
    RESIDENT = "resident"


class OrderKind(StrEnum):
    """Supervision orders: ordinary, on site, listed (Weifang 12345, article 26)."""

    ORDINARY = "ordinary"
    ON_SITE = "on_site"
    LISTED = "listed"


class Hold(StrEnum):
    """Why a case is held: under import, from its registration on (its clock is its file's), or for a legal reason.

    What is held may not be erased.
    """

    IMPORT = "import"
    LEGAL = "legal"


class TimeBase(StrEnum):
    """The three bases of a time limit."""

    HOURS = "hours"
    CALENDAR_DAYS = "calendar_days"
    WORKING_DAYS = "working_days"


class Ends(StrEnum):
    """When the last day of a limit is over (Civil Code, 203): at 24:00, at the close of office, at the same hour.

    A limit in hours with `OFFICE` runs in office hours only.
    """

    DAY = "day"
    OFFICE = "office"
    CLOCK = "clock"


class PartyRole(StrEnum):
    """What a person is to the case."""

    REPORTER = "reporter"
    PARTY = "party"
    REPRESENTATIVE = "representative"
    OTHER = "other"


class Party(Frozen):
    """A person who is party to a case; sealed, and read by nobody whose post does not need it."""

    role: PartyRole = PartyRole.REPORTER
    name: Short = ""
    phone: Short = ""
    id_number: Short = ""
    address: Short = ""


class Parties(Frozen):
    """The people of one demand (petitions regulation, article 19)."""

    parties: Annotated[tuple[Party, ...], Field(max_length=PARTIES_MAX)] = ()


class Matter(Frozen):
    """What a resident says: the sealed heart of a case."""

    title: Title
    text: Text
    address: Short = ""
    file_names: Annotated[tuple[Short, ...], Field(max_length=ATTACHMENTS_MAX)] = ()


class Note(Frozen):
    """What somebody writes down in the course of handling; sealed."""

    text: Text
    file_names: Annotated[tuple[Short, ...], Field(max_length=ATTACHMENTS_MAX)] = ()


class Attachment(Frozen):
    """A sealed object: where it lies, the SHA-256 of its plain bytes, its size in bytes, its media type."""

    object: Code
    digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    size_bytes: Annotated[int, Field(gt=0, le=1 << 30)]
    media_type: Annotated[str, StringConstraints(pattern=r"^[a-z]+/[A-Za-z0-9.+-]{1,80}$")]


Attachments = Annotated[tuple[Attachment, ...], Field(max_length=ATTACHMENTS_MAX)]
Units = Annotated[tuple[UnitCode, ...], Field(max_length=CO_UNITS_MAX)]
Basis = Annotated[str, StringConstraints(max_length=SHORT_CHARS_MAX)]


class KeptFrom(Facts):
    """From whom a case is kept: the unit complained of, who must stand aside, and who handles it if one informed.

    Petitions regulation, articles 28, 30 and 46. It may become known later: what is said adds to what is known.
    """

    complained_unit: UnitCode | None = None
    stand_aside: Annotated[tuple[PersonId, ...], Field(max_length=PARTIES_MAX)] = ()
    informant: bool = False


class Demand(KeptFrom):
    """One resident's demand, as it came in: the first makes a case, a repeat is attached to it."""

    channel: Channel
    contact_time: AwareDatetime
    matter: Private[Matter]
    reporter: Private[Parties] | None = None
    attachments: Attachments = ()
    people_count: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    source: Filled[Code | None] = None
    source_id: Filled[Annotated[str, StringConstraints(min_length=1, max_length=128)] | None] = None


class Registration(Demand):
    """The birth of a case (clause 11.1: whoever is asked first registers at once and is on the case for ever)."""

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
    """What a case is about, as the triage desk or a correction puts it."""

    nature: Nature | None = None
    subject: Code | None = None
    severity: Severity | None = None


class Handlers(Facts):
    """One responsible unit and any number of co-handling units (clauses 5.1.1 b and c), and on what basis."""

    unit: UnitCode
    co_units: Units = ()
    basis: Basis = ""


class Routed(Handlers):
    """A decision by a rule of a reference document: which rule, of which version."""

    rule: Code | None = None
    rule_reference: Reference | None = None


class Explained(Facts):
    """Why: a reason in words, sealed like every free text."""

    note: Private[Note]


class Allowance(Frozen):
    """What a limit allows to be done with its clock: extending and stopping it (petitions regulation, 34 and 36).

    An extension is approved by post `extend_by`, at most `extend_times_max` times, and never beyond `extend_until`. A
    pause has one of the causes in `pauses`; 0 as a maximum sets no bound.
    """

    extend_by: Code | None = None
    extend_until: AwareDatetime | None = None
    extend_times_max: Annotated[int, Field(ge=0, le=100)] = 0
    pauses: Annotated[tuple[PauseCause, ...], Field(max_length=len(PauseCause))] = ()
    pause_times_max: Annotated[int, Field(ge=0, le=100)] = 0
    pause_days_max: Annotated[int, Field(ge=0, le=3_660)] = 0


class Deadline(Frozen):
    """One clock: its stage, from when to when, and where the limit comes from.

    `warn_at` is the moment to warn, `warn` units of `base` before it is due. `legal_basis` names the article, or says
    that the limit is custom; `choice` says why this limit and no other. `unit` tells the co-handling clocks of one
    case apart. `last_day` is the last day counted, before the end moved on over days off. Without `allows` nothing is
    bounded.
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


class Part(Frozen):
    """One part of a case that is split: the new case's region and nature; its id follows from the split."""

    region: Region
    nature: Nature
    subject: Code | None = None


class PartMatters(Frozen):
    """What each part of a split case says, in the order of its parts; sealed."""

    matters: Annotated[tuple[Matter, ...], Field(min_length=2, max_length=PARTS_MAX)]
