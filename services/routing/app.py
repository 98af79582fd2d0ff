"""Routing, put together: its routes, its reactions, its worklist."""

from __future__ import annotations

from services.routing import http
from services.routing.policy import REACTIONS
from services.routing.store import Work
from shared.kit.projections import ProjectionRunner
from shared.kit.reactions import ReactionRunner
from shared.kit.service import Kit, Service, web_app
from shared.kit.submissions import Submissions


def build(kit: Kit) -> Service:
    """The service around its kit."""
    app = web_app(kit, "routing")
    app.include_router(http.router(kit))
    reactor = ReactionRunner(
        kit.owner, REACTIONS, kit.log, kit.handler, kit.vault, kit.clock, kit.library, kit, kit.own_actor
    )
    projector = ProjectionRunner(Work(), kit.database, kit.log, kit.clock, kit.reached, kit.handler.made)
    jobs = {
        "routing.reactions": reactor.run,
        "routing.submissions": Submissions(kit).run,
        "routing.work": projector.run,
    }
    return Service(kit, app, jobs)
