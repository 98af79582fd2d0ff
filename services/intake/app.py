"""Intake, put together: its routes, its reactions, its submissions."""

from __future__ import annotations

from services.intake import http
from services.intake.policy import REACTIONS
from services.intake.store import Claims, Registrar
from services.intake.stream import Follower, submissions
from shared.case.base import Meta
from shared.case.facts import Registration
from shared.case.reasons import Rejected
from shared.kit.command_handler import Committed
from shared.kit.effects import CommandRequest, Reaction, ReactionContext
from shared.kit.reactions import ReactionRunner
from shared.kit.service import Kit, Service, web_app


def build(kit: Kit) -> Service:
    """The service around its kit."""
    app = web_app(kit, "intake")
    claims = Claims(kit.database, kit.vault, kit.clock)
    registrar = Registrar(claims, kit.handler, kit.vault, kit.streams, kit.clock)
    app.include_router(http.router(kit, registrar))

    async def register(
        reaction: Reaction, seen: ReactionContext, wanted: CommandRequest, meta: Meta
    ) -> Committed | Rejected:
        facts = wanted.facts
        assert isinstance(facts, Registration), "only registrations come here"
        told = seen.recorded.id.encode()  # what the facts say besides follows the case as it now is
        _, outcome = await registrar.register(meta, facts, reaction.name, wanted.address.id, told, id=wanted.address.id)
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
