"""Supervision, put together: its routes, its reactions, its ticker."""

from __future__ import annotations

from services.supervision import http
from services.supervision.deadlines.ticker import Ticker
from services.supervision.feed import sse, webhooks_http
from services.supervision.feed.webhooks import Webhooks
from services.supervision.feed.writer import FeedWriter
from services.supervision.policy import REACTIONS, fire_by
from services.supervision.store import PgAgenda, Watched
from services.supervision.stream import Calendars, Clockless, Eraser
from shared.case import events as e
from shared.case.base import Address
from shared.kit.projections import ProjectionRunner
from shared.kit.reactions import ReactionRunner
from shared.kit.service import Kit, Service, web_app
from shared.kit.submissions import Submissions

DEBOUNCE_S = 0.2  # many a case is triaged and assigned meanwhile by a rule: one clock is set, not three


def build(kit: Kit) -> Service:
    """The service around its kit."""
    app = web_app(kit, "supervision")
    app.include_router(http.router(kit))
    app.include_router(sse.router(kit))
    app.include_router(webhooks_http.router(kit))
    eraser = Eraser(kit)
    reactor = ReactionRunner(
        kit.owner, REACTIONS, kit.log, kit.handler, kit.vault, kit.clock, kit.library, kit, kit.own_actor,
        others={e.Erased.TYPE: eraser.erase}, debounce_s=DEBOUNCE_S,
    )  # fmt: skip
    projector = ProjectionRunner(Watched(), kit.database, kit.log, kit.clock, kit.reached, kit.handler.made)
    agenda = PgAgenda(kit.database)

    async def key_of(address: Address) -> None:
        await kit.vault.new_keys(None, [(address.id, address.region)])

    ticker = Ticker(
        "supervision.ticker", Watched.name, agenda, fire_by(kit.library), kit.log, kit.handler, kit.clock, kit.reached,
        kit.own_actor, key_of, kit.vault.keys,
    )  # fmt: skip
    jobs = {
        "supervision.watched": projector.run,
        "supervision.ticker": ticker.run,
        "supervision.calendars": Calendars(kit, agenda, ticker).follow,
        "supervision.clockless": Clockless(kit, agenda, reactor).follow,
        "supervision.feed": FeedWriter(
            kit.log, kit.streams, kit.database, kit.clock, kit.reached, kit.handler.made
        ).run,
        "supervision.webhooks": Webhooks(kit).run,
        "supervision.reactions": reactor.run,
        "supervision.submissions": Submissions(kit, fills=http.ENRICHERS).run,
        "supervision.sweep": eraser.sweep,
    }
    return Service(kit, app, jobs)
