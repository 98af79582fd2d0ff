"""The timeline of a case or an order: its events as a reader sees them, each fact that is withheld left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import AwareDatetime, BaseModel

from shared.case.base import Actor, Recorded, Unknown
from shared.kit.problems import Problem, ProblemError
from shared.kit.seal import unseal_fields

REPORTER = "reporter"


class TimelineEntry(BaseModel):
    """One event of a timeline. `sealed` names the facts that are withheld from the caller, or erased."""

    event: str
    type: str
    version: int
    time: AwareDatetime
    recorded_at: AwareDatetime
    actor: Actor
    position: str
    references: tuple[str, ...]
    facts: dict[str, Any]
    sealed: list[str] = []


def timeline_entry(recorded: Recorded[Any], key: bytes | None, hide_reporter: bool) -> TimelineEntry:
    """One event for a reader; sealed facts are opened with the key, or left out without one. Raises SealBroken."""
    event, meta = recorded.event, recorded.meta
    sealed: list[str]
    if isinstance(event, Unknown):  # this program cannot tell which of its facts are private
        version, facts, sealed = event.version, {}, sorted(event.data)
    else:
        version = event.VERSION
        private = [name for name in event.PRIVATE if getattr(event, name) is not None]
        sealed = [name for name in private if key is None or (hide_reporter and name == REPORTER)]
        if key is not None:
            event = unseal_fields(event, key, recorded.address.id, recorded.id)
        facts = event.model_dump(mode="json", exclude=set(sealed), exclude_none=True)
    return TimelineEntry(
        event=recorded.id, type=recorded.type, version=version, time=meta.time, recorded_at=meta.recorded_at,
        actor=meta.actor, position=str(recorded.position), references=meta.references, facts=facts, sealed=sealed,
    )  # fmt: skip


class ChangedProblem(Problem):
    """The answer to a decision that rests on an older state: the events since, as far as the caller may see them.

    The header ETag names the state after them. Of many events the last ones stand here.
    """

    since: tuple[TimelineEntry, ...] = ()


class PreconditionFailed(ProblemError):
    """The case or the order is in another state than If-Match names (RFC 9110, section 15.5.13)."""

    status, code = 412, "precondition.failed"
    advice = "Look at `since`. If the decision still holds, send it again with the ETag of this answer as If-Match."

    def __init__(self, detail: str, *, tag: str, since: Sequence[TimelineEntry]) -> None:
        super().__init__(detail)
        self.problem = ChangedProblem(**dict(self.problem), since=tuple(since))
        self.headers["ETag"] = tag
