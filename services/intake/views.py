"""Response models of intake."""

from __future__ import annotations

from pydantic import AwareDatetime, BaseModel

from shared.kit.application import Answer


class RegistrationAnswer(Answer):
    """The answer to a registration. `secret` opens the public look-up and is stated here only."""

    secret: str


class Secret(BaseModel):
    """A new look-up secret; the one before it is invalid."""

    number: str
    secret: str


class ResidentStep(BaseModel):
    """One step of a case as its resident may see it."""

    step: str
    time: AwareDatetime
    unit: str | None = None


class PublicCase(BaseModel):
    """A case as its resident sees it: where it stands, its steps, and the reply (clause 8.1 f)."""

    number: str
    status: str
    registered_at: AwareDatetime
    due: AwareDatetime | None = None
    steps: list[ResidentStep]
    reply: str | None = None
