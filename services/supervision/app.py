"""Supervision, put together: its routes, its reactions, its ticker."""

from __future__ import annotations

from services.supervision import http
from services.supervision.policy import REACTIONS, fire_by
from services.supervision.store import Agenda, Watched
from services.supervision.stream import Calendars, Clockless, Eraser
from shared.case.base import Address
from shared.kit.feed import sse, webhooks_http
from shared.kit.feed.webhooks import Webhooks
from shared.kit.feed.writer import Writer
from shared.kit.project import Projector
from shared.kit.react import Reactor
from shared.kit.service import Kit, Service, web_app
from shared.kit.submit import Submissions
from shared.kit.ticker import Ticker

LINGER_S = 0.2  # many a case is triaged and assigned meanwhile by a rule: one clock is set, not three


def build(kit: Kit) -> Service:
    """The service around its kit."""
    app = web_app(kit, "supervision")
    app.include_router(http.router(kit))
    app.include_router(sse.router(kit))
    app.include_router(webhooks_http.router(kit))
    eraser = Eraser(kit)
    reactor = Reactor(
        kit.owner, REACTIONS, kit.log, kit.handler, kit.vault, kit.clock, kit.library, kit, kit.own_actor,
        others={"case.erased": eraser.erase}, linger_s=LINGER_S,
    )  # fmt: skip
    projector = Projector(Watched(), kit.database, kit.log, kit.clock, kit.reached, kit.handler.made)
    agenda = Agenda(kit.database)

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
        "supervision.feed": Writer(kit.log, kit.streams, kit.database, kit.clock, kit.reached, kit.handler.made).run,
        "supervision.webhooks": Webhooks(kit).run,
        "supervision.reactions": reactor.run,
        "supervision.submissions": Submissions(kit, fills=http.FILLS).run,
        "supervision.sweep": eraser.sweep,
    }
    return Service(kit, app, jobs)
