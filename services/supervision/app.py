"""Supervision, put together: its routes and its reactions."""

from __future__ import annotations

from services.supervision import http
from services.supervision.policy import REACTIONS
from services.supervision.stream import Eraser
from shared.kit.react import Reactor
from shared.kit.service import Kit, Service, web_app
from shared.kit.submit import Submissions


def build(kit: Kit) -> Service:
    """The service around its kit."""
    app = web_app(kit, "supervision")
    app.include_router(http.router(kit))
    eraser = Eraser(kit)
    reactor = Reactor(
        kit.owner, REACTIONS, kit.log, kit.handler, kit.vault, kit.clock, kit.library, kit, kit.own_actor,
        others={"case.erased": eraser.erase},
    )  # fmt: skip
    jobs = {
        "supervision.reactions": reactor.run,
        "supervision.submissions": Submissions(kit).run,
        "supervision.sweep": eraser.sweep,
    }
    return Service(kit, app, jobs)
