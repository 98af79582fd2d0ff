"""Who may: one rule, (level, region subtree, unit, post, own ties) against a case (clauses 9.4 a and 9.5 b).

Two forms, kept equal by a property test: the Python functions here for commands, and the SQL function `kit.may_see` for
every list, count, search, feed and export. Who is complained of, and who must stand aside, sees nothing of the case,
whatever their post (petitions regulation, articles 28, 30 and 46).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shared.case.base import Actor, contains, region_prefix
from shared.case.catalogue import CREATES
from shared.case.commands import COMMANDS, Command
from shared.case.orders import OrderState
from shared.case.rights import Right, Tie, erasure_conflict
from shared.case.state import CaseState
from shared.reference.people import Barred, PersonRow

RESIDENT_COMMANDS = frozenset({"rate"})  # what a resident may send who has the look-up secret of the case
STANDS_ASIDE = "you are bound to stand aside from this case"


@dataclass(frozen=True, slots=True)
class Caller:
    """A person (or a platform's account) at a post of a unit in a region, with the rights of the post.

    `source`: the name under which a platform submits; None for everybody else.
    `own_case`: the id of the case whose look-up secret a resident has; None for everybody else.
    `acting_for`: the absent person as whose deputy the caller acts. Post, unit, region and rights are then those of the
    absent person, and `own_unit` is the unit of the deputy.
    """

    person: str
    post: str
    unit: str
    region: str
    rights: frozenset[Right]
    source: str | None = None
    own_case: str | None = None
    acting_for: str | None = None
    own_unit: str | None = None

    @property
    def actor(self) -> Actor:
        return Actor(
            person=self.person,
            post=self.post,
            unit=self.unit,
            centre=self.region,
            region=self.region,
            acting_for=self.acting_for,
        )

    @property
    def people(self) -> tuple[str, ...]:
        """The caller, and the absent person for whom the caller acts."""
        return (self.person,) if self.acting_for is None else (self.person, self.acting_for)


def may_see(caller: Caller, case: CaseState) -> bool:
    """Whether the caller may read the case with its content: by the post's region, by unit, or by an own tie.

    The region where the case began counts as well as the centre now in charge: it stays informed.
    """
    if barred(caller, case):
        return False
    if Right.READ in caller.rights and (
        contains(caller.region, case.in_charge) or contains(caller.region, case.region)
    ):
        return True
    return _tied(caller, case)


def may_see_flow(caller: Caller, case: CaseState) -> bool:
    """Whether the caller may read the flow facts: who may see the case, and auditors of its region, without content."""
    auditor = Right.AUDIT in caller.rights and contains(caller.region, case.in_charge)
    return may_see(caller, case) or (auditor and not barred(caller, case))


def may_see_order(caller: Caller, order: OrderState, content: bool) -> bool:
    """Whether the caller may read a supervision order: the unit that must answer it, and posts that read its region.

    Auditors of the region read it without its content.
    """
    rights = {Right.READ} if content else {Right.READ, Right.AUDIT}
    return caller.unit == order.unit or (bool(caller.rights & rights) and contains(caller.region, order.region))


def may_see_reporter(caller: Caller, case: CaseState) -> bool:
    """Whether the caller may know who reported: of an informant only the centre in charge and the first asked may."""
    if not may_see(caller, case):
        return False
    at_centre = Right.READ in caller.rights and contains(caller.region, case.in_charge)
    return not case.informant or case.first_asked in caller.people or at_centre


def may_notify(caller: Caller, case: CaseState) -> bool:
    """Whether the caller's gateway may be told the reporter's number to send a notice: of the cases of its region, but
    never of an informant's, which nobody but the centre may know of (petitions regulation, article 30)."""
    inside = contains(caller.region, case.in_charge) or contains(caller.region, case.region)
    return Right.NOTIFY in caller.rights and inside and not case.informant


def barred(caller: Caller, case: CaseState) -> bool:
    """Whether the case is kept from this person: complained of, or bound to stand aside. A deputy is barred as well
    where the absent person is."""
    complained_of = case.complained_unit is not None and case.complained_unit in (caller.unit, caller.own_unit)
    return complained_of or any(person in case.stand_aside for person in caller.people)


def takes_no_part(case: CaseState) -> Barred:
    """Who must not hold the case or act in it for somebody who is absent: who is barred from it, and who stands aside
    from a unit or a person that has it (petitions regulation, article 28)."""

    def barred_from_case(row: PersonRow) -> bool:
        concerned = {case.complained_unit, *case.units, *case.people}
        return (
            row.unit == case.complained_unit
            or row.id in case.stand_aside
            or not concerned.isdisjoint(row.stands_aside_from)
        )

    return barred_from_case


def _tied(caller: Caller, case: CaseState) -> bool:
    units = (case.unit, *case.co_units)
    people = (case.first_asked, case.person, *(co.person for co in case.co_handlers))
    return caller.unit in units or any(person in people for person in caller.people)


def offered(name: str) -> bool:
    """Whether people and platforms may send this command at all."""
    return COMMANDS[name].offered


def needed(name: str) -> str:
    """The demands of a command on its caller in words: the right, and the tie to the case."""
    spec = COMMANDS[name]
    return f"{spec.right} ({spec.tie})"


def is_creation(name: str) -> bool:
    """Whether the command creates an aggregate: then there is no state yet that a caller could be tied to."""
    return COMMANDS[name].event in CREATES


def refusal(caller: Caller, command: Command, state: Any) -> str | None:
    """Why the caller may not send this command to this aggregate, None when they may. Names no content."""
    spec = COMMANDS[command.name]
    right, tie = spec.right, spec.tie
    if right is None or tie is None:
        return f"{command.name} is decided by {spec.owner} alone; nobody may send it"
    if caller.own_case is not None:  # a resident has no post: the secret is the permission
        own = command.address.id == caller.own_case and command.name in RESIDENT_COMMANDS
        return None if own else "the secret of a case serves to rate that case, and for nothing else"
    if right not in caller.rights:
        return f"your post {caller.post} lacks the right {right}; somebody who has it must do this"
    if right is Right.ERASE and (conflict := erasure_conflict(caller.rights)):
        return f"your post {caller.post} may not erase: {conflict}"
    if isinstance(state, CaseState) and barred(caller, state):
        return STANDS_ASIDE
    if getattr(command.facts, "handed_by", None) is not None and not _may_hand_down(caller, command.facts):
        return "a matter is handed down by the centre that `handed_by` names, by a post with the right hand_down"
    if not _brought_in(caller, state) and not _TIES[tie](caller, command, state):
        return f"this case is not in your hands ({tie}); ask the centre or the unit that has it"
    return None


def _may_hand_down(caller: Caller, facts: Any) -> bool:
    """Whether who registers a matter handed down is of the superior centre, or its platform (clause 5.1.1 i)."""
    of_centre = caller.unit == f"{caller.region}-centre" or caller.source is not None
    return Right.HAND_DOWN in caller.rights and of_centre and caller.region == facts.handed_by


def _brought_in(caller: Caller, state: Any) -> bool:
    """A platform has the cases in hand that it submitted itself, for whichever unit of its region handles them."""
    return (
        caller.source is not None
        and isinstance(state, CaseState)
        and state.source == caller.source
        and contains(caller.region, state.in_charge)
    )


def _unit(caller: Caller, command: Command, case: CaseState) -> bool:
    named = getattr(command.facts, "unit", None) or case.unit
    return caller.unit == named and named in (case.unit, *case.co_units)


def _named_unit(caller: Caller, command: Command, state: CaseState) -> bool:
    unit: str = getattr(command.facts, "unit", "")
    at_centre = caller.unit == f"{caller.region}-centre" and contains(caller.region, state.in_charge)
    return unit == caller.unit or (at_centre and unit.startswith(region_prefix(caller.region)))


def _order_centre(caller: Caller, command: Command, state: OrderState) -> bool:
    return bool(state.region) and contains(caller.region, state.region)


_TIES: dict[Tie, Callable[[Caller, Command, Any], bool]] = {
    Tie.REGION: lambda caller, command, _: contains(caller.region, command.address.region),
    Tie.CENTRE: lambda caller, _, case: bool(case.in_charge) and contains(caller.region, case.in_charge),
    Tie.SEES: lambda caller, _, case: may_see(caller, case),
    Tie.UNIT: _unit,
    Tie.NAMED_UNIT: _named_unit,
    Tie.ORDER_UNIT: lambda caller, _, order: caller.unit == order.unit,
    Tie.ORDER_CENTRE: _order_centre,
}
