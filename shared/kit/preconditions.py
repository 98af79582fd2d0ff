"""Preconditions: a caller names the state that a decision rests on (RFC 9110, section 13.1.1).

The entity tag of a case or an order is the number of its events, the same at every service. A reader from whom the
content is withheld gets a tag of their own for the same state.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from shared.case.commands import Command
from shared.case.decide import Verdict
from shared.case.orders import OrderState
from shared.case.reasons import Rejected
from shared.case.replacement import replaces
from shared.case.state import CaseState
from shared.kit.problems import BadRequest

IF_MATCH_CHARS_MAX = 1_000
FLOW = "f"
_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_ITEM = re.compile(rf"[ \t]*+({_TAG})?[ \t]*+(?:,|\Z)")  # an empty one is tolerated (RFC 9110, section 5.6.1.2)
_OWN = re.compile(rf'(?:W/)?"([0-9]{{1,9}}){FLOW}?"')


def entity_tag(version: int, shows_content: bool = True) -> str:
    """The strong entity tag of an aggregate after `version` events."""
    return f'"{version}{"" if shows_content else FLOW}"'


@dataclass(frozen=True, slots=True)
class Precondition:
    """The states that a caller accepts, as entity tags; `anything` for each state that there is.

    `demanded`: a command that replaces a decision which stands is refused without tags.
    """

    tags: frozenset[str] = frozenset()
    anything: bool = False
    demanded: bool = False

    def holds(self, version: int) -> bool:
        """Whether the aggregate is in one of the states. A weak tag names none (RFC 9110, section 8.8.3.2)."""
        if self.tags:
            return not self.tags.isdisjoint((entity_tag(version), entity_tag(version, shows_content=False)))
        return not self.anything or version > 0

    def demands(self, command: Command, state: CaseState | OrderState) -> bool:
        """Whether the command is refused because it names no state."""
        return self.demanded and not self.tags and not self.anything and replaces(command, state)

    @property
    def version_read(self) -> int:
        """The newest state that the caller has read, by the tags; 0 where no tag is one of ours."""
        return max((int(match[1]) for tag in self.tags if (match := _OWN.fullmatch(tag))), default=0)


UNCHECKED = Precondition()
UNSTATED = Precondition(demanded=True)


@dataclass(frozen=True, slots=True)
class Unmet:
    """The aggregate is in another state than the caller accepts (`stated`), or the caller names none and must."""

    stated: bool


def judged(
    verdict: Verdict, command: Command, state: CaseState | OrderState, precondition: Precondition
) -> Unmet | None:
    """Whether the precondition stands against the verdict of the law. A command applied before has none."""
    if command.meta.command_id in state.applied:
        return None
    if not precondition.holds(state.version):
        return Unmet(stated=True)
    if isinstance(verdict, Rejected) or not precondition.demands(command, state):
        return None
    return Unmet(stated=False)


def read_if_match(lines: Sequence[str]) -> Precondition:
    """The precondition of the lines of `If-Match`, at least one. Raises BadRequest."""
    text = ",".join(lines)
    if text.strip(" \t") == "*":
        return Precondition(anything=True)
    tags = _tags(text) if len(text) <= IF_MATCH_CHARS_MAX else None
    if not tags:
        raise BadRequest(
            "If-Match is neither * nor a list of entity tags.", code="precondition.malformed",
            advice='Send the ETag of the answer that you have read, with its quotes: If-Match: "12".',
        )  # fmt: skip
    return Precondition(tags)


def _tags(text: str) -> frozenset[str] | None:
    """The entity tags of a list; None for a text that is no such list."""
    tags, at = set(), 0
    while at < len(text):
        item = _ITEM.match(text, at)
        if item is None:
            return None
        tags.add(item[1])
        at = item.end()
    return frozenset(tag for tag in tags if tag)
