"""The wiring of supervision: its routes, reactions, ticker and feed."""

from __future__ import annotations

from pathlib import Path

from services.supervision import http
from services.supervision.deadlines.ticker import Ticker
from services.supervision.enrichers import ENRICHERS
from services.supervision.feed import sse, webhooks_http
from services.supervision.feed.webhooks import WebhookSender
from services.supervision.feed.writer import FeedWriter
from services.supervision.jobs import Calendars, Clockless, Eraser
from services.supervision.messages import messages
from services.supervision.policy import REACTIONS, fire_by
from services.supervision.queries import STATEMENTS, PgAgenda, TroubledQueries
from services.supervision.read_model import Watched
from shared.case import events as e
from shared.case.base import Owner
from shared.case.commands import Command
from shared.kit.application import Application, Creator, Origin
from shared.kit.data import Data
from shared.kit.identity import Identity
from shared.kit.projections import ProjectionRunner
from shared.kit.reactions import ReactionRunner
from shared.kit.runtime import Runtime
from shared.kit.service import RunningService, Service
from shared.kit.submissions import Submissions
from shared.kit.vault import Vault
from shared.kit.web_app import web_app
from shared.log.topology import (
    ANY_RECEIPT,
    ATTACHMENTS_REMOVAL,
    CASE_EVENTS,
    FEED_ITEMS,
    ORDER_EVENTS,
    WIPE_SUBMISSION,
)

DEBOUNCE_S = 0.2  # a rule often triages and assigns a case within this time: one clock is set instead of three


def key_before_order(vault: Vault) -> Creator:
    """Makes the key of an order before its first event."""

    async def create(command: Command, origin: Origin | None) -> Command:
        await vault.new_keys(None, [(command.address.id, command.address.region)])
        return command

    return create


def build(*, identity: Identity, data: Data, runtime: Runtime) -> RunningService:
    """The service on these connections."""
    application = Application(
        identity=identity, data=data, runtime=runtime, enrichers=ENRICHERS,
        creators={"issue-order": key_before_order(data.vault)},
    )  # fmt: skip
    app = web_app(
        application,
        http.router,
        sse.router,
        webhooks_http.router,
        operations=Path(__file__).with_name("operations.yaml"),
    )
    app.state.queries = TroubledQueries(data.database)
    app.state.feed = sse.Feed(application)
    app.state.webhooks = webhooks_http.WebhookAccess(application)
    eraser = Eraser(data, runtime)
    reactions = ReactionRunner(
        application=application, reactions=REACTIONS, observers={e.Erased.TYPE: eraser.erase}, debounce_s=DEBOUNCE_S
    )
    projection = ProjectionRunner(model=Watched(), database=data.database, log=data.log, runtime=runtime)
    agenda = PgAgenda(data.database)
    ticker = Ticker(
        name="supervision.ticker", model=Watched.name, agenda=agenda, policy=fire_by(identity.reference_data),
        application=application,
    )  # fmt: skip
    jobs = {
        "supervision.watched": projection.run,
        "supervision.ticker": ticker.run,
        "supervision.calendars": Calendars(application, agenda, ticker).follow,
        "supervision.clockless": Clockless(application, agenda, reactions).follow,
        "supervision.feed": FeedWriter(data=data, runtime=runtime).run,
        "supervision.webhooks": WebhookSender(application).run,
        "supervision.reactions": reactions.run,
        "supervision.sweep": eraser.sweep,
    }
    return RunningService(
        application=application, app=app, jobs=jobs, projections=(projection,), submissions=Submissions(application),
    )  # fmt: skip


SERVICE = Service(
    owner=Owner.SUPERVISION,
    statements=STATEMENTS,
    migrations=Path(__file__).parent / "migrations",
    publishes=(CASE_EVENTS, ORDER_EVENTS, ANY_RECEIPT, FEED_ITEMS, WIPE_SUBMISSION, *ATTACHMENTS_REMOVAL),
    reactions=REACTIONS,
    build=build,
    messages=messages,
)
