"""The reasons of rejections, each with its code, HTTP status and message.

A rejection is a value, never an exception: exceptions are for broken infrastructure. The code is a storage format: it
stands in receipts and problem documents and is never changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Reason(Enum):
    """A reason as (code, HTTP status, message). The message tells the caller the remedy."""

    NOT_REGISTERED = ("not_registered", 404, "No such case. Check the number or the id.")
    ALREADY_REGISTERED = ("already_registered", 409, "This id is taken already. Use a new id.")
    WRONG_REGION = (
        "wrong_region",
        422,
        "The facts name another region than the case's address, or a grid outside it. Send one region.",
    )
    CONTACT_AFTER_REGISTRATION = (
        "contact_after_registration",
        422,
        "The contact is later than the registration. Correct contact_time.",
    )
    WRONG_STATUS = ("wrong_status", 409, "The case's status does not allow this. Read the case and its next steps.")
    CASE_CLOSED = ("case_closed", 409, "The case is closed. Reopen it first, or register a new demand.")
    CASE_MERGED = (
        "case_merged",
        409,
        "The case goes on in the case into which it was merged. Work on that one, or undo the merge.",
    )
    MERGED_AGAIN = ("merged_again", 409, "The case was merged anew meanwhile. Read the case and its next steps.")
    CASE_SPLIT = ("case_split", 409, "The case goes on as its parts. Work on the parts.")
    ERASED = (
        "erased",
        410,
        "The content was erased when its retention ran out, and nothing more follows. Register a new demand.",
    )
    NEWER_EVENT = ("newer_event", 503, "The case holds an event of a newer version. Update this service, then retry.")
    BEFORE_CASE = ("before_case", 422, "The time lies before the first contact of the case. Correct time.")
    CLOCK_BEHIND = (
        "clock_behind",
        503,
        "The clock of this server lies behind the case. Ask the operator to set it right, then send the same again.",
    )
    UNIT_COMPLAINED_OF = (
        "unit_complained_of",
        409,
        "A complaint never goes to the unit it complains of. Name another unit (clause 8.1 f).",
    )
    COMPLAINS_OF_ANOTHER = (
        "complains_of_another",
        409,
        "The case complains of another unit, and of one only. Register this complaint as a case of its own.",
    )
    MUST_STAND_ASIDE = ("must_stand_aside", 409, "This person must stand aside from the case. Name another person.")
    TOO_MANY_ASIDE = ("too_many_aside", 422, "More people would stand aside than a case can name. Name fewer.")
    UNIT_TWICE = ("unit_twice", 422, "A unit is named twice. Name one that leads, and each that co-handles once.")
    NOT_RESPONSIBLE_UNIT = (
        "not_responsible_unit",
        409,
        "The unit is not responsible for this case. Name the responsible unit.",
    )
    NOT_CO_HANDLING = (
        "not_co_handling",
        409,
        "The unit does not co-handle this case, or was taken off. Name one that does.",
    )
    ALREADY_REPORTED = (
        "already_reported",
        409,
        "This was reported already, and once is enough. Read the case and its next steps.",
    )
    CO_HANDLERS_OPEN = (
        "co_handlers_open",
        409,
        "A co-handling unit has not reported. Wait for it or take it off (clause 5.1.1 b).",
    )
    SAME_PERSON = ("same_person", 409, "This person is responsible already. Name another person.")
    SAME_UNIT = ("same_unit", 409, "These units have the case already. Name other units.")
    HAND_BACK_REFUSED = (
        "hand_back_refused",
        409,
        "After a ruling or a direct designation nothing is handed back (Weifang 12345, article 22). Handle the case.",
    )
    NOTHING_TO_RULE = ("nothing_to_rule", 409, "Nobody has handed the case back. Triage and assign it like any other.")
    SAME_CENTRE = ("same_centre", 409, "This centre is in charge already. Name another centre.")
    NOT_ABOVE = (
        "not_above",
        422,
        "That centre is not above the case's centre. Name one that is (clauses 11.2 and 5.1.1 i).",
    )
    NOT_BELOW = ("not_below", 422, "That centre is not below the one in charge. Name one that is (clause 5.1.1 i).")
    SAME_CASE = ("same_case", 422, "A case stands here for itself, or twice. Name other cases, each once.")
    LATER_CASE = (
        "later_case",
        409,
        "This case was registered after the other one. Merge the later case into the earlier one.",
    )
    PARTS_DIFFER = ("parts_differ", 422, "Parts and their matters differ in number. Send one matter for each part.")
    BASIS_MISSING = (
        "basis_missing",
        422,
        "No legal or policy basis is named. Name the one that it rests on (clause 5.1.3 a: handled by law).",
    )
    NOT_SATISFIED = (
        "not_satisfied",
        409,
        "The resident is not satisfied. Send the case back, or close it with its legal basis.",
    )
    ALREADY_PROPOSED = (
        "already_proposed",
        409,
        "Its reopening is proposed already. Reopen the case, or send decline-reopening.",
    )
    NOT_PROPOSED = ("not_proposed", 409, "No reopening of this case is proposed. Read the case and its next steps.")
    NOT_REACHED = (
        "not_reached",
        422,
        "Who was not reached has said nothing. Send contacted true, or leave out outcome and satisfaction.",
    )
    NOTHING_CORRECTED = ("nothing_corrected", 422, "The correction changes nothing. Say what is to be corrected.")
    NOTHING_SET = ("nothing_set", 422, "No clock is started or ended. Name at least one.")
    DEADLINE_OPEN = ("deadline_open", 409, "A clock of this stage is running. End it in the same command.")
    NO_SUCH_DEADLINE = ("no_such_deadline", 409, "No clock of this stage is in force. Read the case's deadlines.")
    DEADLINE_MOVED = ("deadline_moved", 409, "The due moment in force is another one. Read the case's deadlines.")
    NOT_LATER = ("not_later", 422, "The due moment is not later than it must be. Name a later one.")
    SELF_APPROVAL = (
        "self_approval",
        403,
        "Who is responsible in the unit cannot approve their own request. Ask the approver.",
    )
    REQUEST_PENDING = ("request_pending", 409, "A request for this stage waits already. Wait for its answer.")
    NO_REQUEST = ("no_request", 409, "No request of this kind is waiting. Read the case's deadlines.")
    ALREADY_SUSPENDED = ("already_suspended", 409, "The clock of this stage stands still. Resume it first.")
    NOT_SUSPENDED = ("not_suspended", 409, "The clock of this stage is running. Read the case's deadlines.")
    NOT_YET_DUE = ("not_yet_due", 409, "Nothing fires early. Wait until the moment has come.")
    ALREADY_FIRED = ("already_fired", 409, "This deadline has fired, and fires once. Read the case's deadlines.")
    NOTHING_TO_ANNUL = ("nothing_to_annul", 409, "No overdue of this stage stands. Read the case's deadlines.")
    LATE_UNSEEN = (
        "late_unseen",
        409,
        "A due moment has passed and its overdue is not declared yet. Declare it first: nothing is late in silence.",
    )
    STAGE_RUNS = ("stage_runs", 409, "This stage still runs and needs a deadline. Name the one that follows.")
    STAGE_OVER = ("stage_over", 409, "This stage is over, or not begun. Read the case and its next steps.")
    NO_EXTENSION = ("no_extension", 409, "The limit of this stage allows no extension. Handle the case.")
    EXTENDED_TOO_OFTEN = (
        "extended_too_often",
        409,
        "This clock was extended as often as its limit allows. Handle the case.",
    )
    EXTENDED_TOO_FAR = ("extended_too_far", 422, "The limit does not reach so far. Name an earlier due moment.")
    WRONG_APPROVER = ("wrong_approver", 403, "Another post approves this. Ask the post that the limit names.")
    NO_PAUSE = ("no_pause", 409, "The limit of this stage allows no pause for this cause. Handle the case.")
    PAUSED_TOO_OFTEN = (
        "paused_too_often",
        409,
        "This clock stood still as often as its limit allows. Handle the case.",
    )
    PAUSE_TOO_LONG = (
        "pause_too_long",
        422,
        "The pause is longer than the limit allows, or has no end. Name an earlier `until`.",
    )
    NOT_LATE = ("not_late", 409, "No overdue of this stage stands. Read the case's deadlines.")
    WRONG_RUNG = ("wrong_rung", 409, "The ladder stands on another rung. Read the case's deadlines.")
    ALREADY_ORDERED = ("already_ordered", 409, "The order covers this case already. Name another order.")
    HELD = ("held", 409, "The case is held. Release the hold first.")
    IMPORT_AT_REGISTRATION = (
        "import_at_registration",
        422,
        "A case comes under import by its registration only. Name another hold.",
    )
    HOLD_AT_REGISTRATION = (
        "hold_at_registration",
        422,
        "A registration holds a case for its import only. Register the case, then place the hold.",
    )
    NOT_HELD = ("not_held", 409, "The case is not held in this way. Read which holds stand.")
    KEPT_FOR_EVER = ("kept_for_ever", 409, "The case is of the permanent retention class. Keep it.")
    RETENTION_DIFFERS = ("retention_differs", 422, "The case is of another retention class. Name the case's own.")
    KEPT_LONGER = (
        "kept_longer",
        409,
        "The retention of the content has not run out. Send the request again when it has (clause 9.4 b).",
    )
    NOT_REQUESTED = (
        "not_requested",
        409,
        "Nobody has requested this. Send request-erasure or request-release; then another person decides.",
    )
    REQUESTED_ALREADY = (
        "requested_already",
        409,
        "This was requested already, and once is enough. Ask another person to decide, or end the request.",
    )
    SECOND_PERSON_NEEDED = (
        "second_person_needed",
        403,
        "Who requested this cannot approve it. Ask another person with the same right.",
    )

    def __init__(self, code: str, status: int, message: str) -> None:
        self.code = code
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class Rejected:
    """The law refuses the command, with the reason. `detail` contains open facts only, never content."""

    reason: Reason
    detail: str = ""
