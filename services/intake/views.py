"""Response models of intake."""

from __future__ import annotations

from pydantic import AwareDatetime, BaseModel

from shared.case.facts import DeclineReason
from shared.kit.application import Answer


class RegistrationAnswer(Answer):
    """The answer to a registration. `secret` opens the public look-up and is stated here only.

    `notice` stands there when no new case was made: the same body without a key was registered just before.
    """

    secret: str
    notice: str | None = None


class Secret(BaseModel):
    """A new look-up secret; the one before it is invalid."""

    number: str
    secret: str


class ResidentStep(BaseModel):
    """One step of a case as its resident may see it."""

    step: str
    time: AwareDatetime
    unit: str | None = None


class DeclinedDemand(BaseModel):
    """The reason why a demand was declined, and the other way that the law opens (Beijing 12345, article 11)."""

    reason: DeclineReason
    legal_path: str


class PublicCase(BaseModel):
    """A case as its resident sees it: where it stands, its steps, and the reply (clause 8.1 f).

    Of a merged case, status, due moment and reply are those of the case in which it goes on; of the steps of that case
    only its stages are shown, and no other reporter is named.

    `declined` stands there while the case is declined.
    """

    number: str
    status: str
    registered_at: AwareDatetime
    due: AwareDatetime | None = None
    steps: list[ResidentStep]
    reply: str | None = None
    declined: DeclinedDemand | None = None
