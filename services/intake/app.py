"""The wiring of intake: its routes, reactions and submissions."""

from __future__ import annotations

from pathlib import Path

from services.intake import http
from services.intake.enrichers import ENRICHERS
from services.intake.messages import CREATIONS, ProgressReporter, messages
from services.intake.policy import REACTIONS
from services.intake.queries import STATEMENTS
from services.intake.rates import Rates
from services.intake.registration import Registrar
from shared.case.base import Owner
from shared.kit.application import Application
from shared.kit.data import Data
from shared.kit.identity import Identity
from shared.kit.reactions import ReactionRunner
from shared.kit.runtime import Runtime
from shared.kit.service import RunningService, Service
from shared.kit.submissions import Submissions
from shared.kit.web_app import web_app
from shared.log.topology import (
    ANY_PROGRESS,
    ANY_RECEIPT,
    ATTACHMENTS_REMOVAL,
    ATTACHMENTS_STORE,
    CASE_EVENTS,
    WIPE_SUBMISSION,
)


def build(*, identity: Identity, data: Data, runtime: Runtime) -> RunningService:
    """The service on these connections."""
    registrar = Registrar(data=data, runtime=runtime)
    application = Application(
        identity=identity, data=data, runtime=runtime, enrichers=ENRICHERS, creators={"register": registrar.create}
    )
    app = web_app(application, http.router, operations=Path(__file__).with_name("operations.yaml"))
    app.state.registrar, app.state.rates = registrar, Rates(runtime.clock)
    reactions = ReactionRunner(
        application=application, reactions=REACTIONS, observers={"*": ProgressReporter(application).report}
    )
    return RunningService(
        application=application, app=app, jobs={"intake.reactions": reactions.run},
        submissions=Submissions(application, CREATIONS),
    )  # fmt: skip


SERVICE = Service(
    owner=Owner.INTAKE,
    statements=STATEMENTS,
    migrations=Path(__file__).parent / "migrations",
    publishes=(CASE_EVENTS, ANY_RECEIPT, ANY_PROGRESS, WIPE_SUBMISSION, *ATTACHMENTS_STORE, *ATTACHMENTS_REMOVAL),
    reactions=REACTIONS,
    build=build,
    messages=messages,
)
