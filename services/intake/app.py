"""Intake, put together: its routes, its reactions, its submissions."""

from __future__ import annotations

from typing import Any

from services.intake import http
from services.intake.policy import REACTIONS
from services.intake.store import Claims, Registrar
from services.intake.stream import Follower, submissions
from shared.case.base import Meta, Recorded
from shared.case.facts import Registration
from shared.case.reasons import Rejected
from shared.kit.command_handler import Committed
from shared.kit.effects import CommandRequest, Reaction
from shared.kit.reactions import ReactionRunner
from shared.kit.service import Kit, Service, web_app


def build(kit: Kit) -> Service:
    """The service around its kit."""
    app = web_app(kit, "intake")
    claims = Claims(kit.database, kit.vault, kit.clock)
    registrar = Registrar(claims, kit.handler, kit.vault, kit.streams, kit.clock)
    app.include_router(http.router(kit, registrar))

    async def register(
        reaction: Reaction, cause: Recorded[Any], request: CommandRequest, meta: Meta
    ) -> Committed | Rejected:
        facts = request.facts
        assert isinstance(facts, Registration), "only registrations come here"
        body, id = cause.id.encode(), request.address.id  # what the facts say besides follows the case as it now is
        _, outcome = await registrar.register(meta, facts, reaction.name, id, body, id=id)
        return outcome

    reactor = ReactionRunner(
        kit.owner, REACTIONS, kit.log, kit.handler, kit.vault, kit.clock, kit.library, kit, kit.own_actor, register,
        others={"*": Follower(kit).follow},
    )  # fmt: skip
    return Service(
        kit,
        app,
        {"intake.reactions": reactor.run, "intake.submissions": submissions(kit, registrar, http.ENRICHERS).run},
    )
