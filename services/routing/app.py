"""The wiring of routing: its routes, reactions and worklist."""

from __future__ import annotations

from pathlib import Path

from services.routing import http
from services.routing.enrichers import ENRICHERS
from services.routing.messages import messages
from services.routing.policy import REACTIONS
from services.routing.queries import STATEMENTS, WorkQueries
from services.routing.read_model import Work
from shared.case.base import Owner
from shared.kit.application import Application
from shared.kit.data import Data
from shared.kit.identity import Identity
from shared.kit.projections import ProjectionRunner
from shared.kit.reactions import ReactionRunner
from shared.kit.runtime import Runtime
from shared.kit.service import RunningService, Service
from shared.kit.submissions import Submissions
from shared.kit.web_app import web_app
from shared.log.topology import ANY_DOCUMENT, ANY_RECEIPT, CASE_EVENTS, WIPE_SUBMISSION


def build(*, identity: Identity, data: Data, runtime: Runtime) -> RunningService:
    """The service on these connections."""
    application = Application(identity=identity, data=data, runtime=runtime, enrichers=ENRICHERS)
    app = web_app(application, http.router, operations=Path(__file__).with_name("operations.yaml"))
    app.state.queries = WorkQueries(data.database)
    reactions = ReactionRunner(application=application, reactions=REACTIONS)
    projection = ProjectionRunner(model=Work(), database=data.database, log=data.log, runtime=runtime)
    jobs = {
        "routing.reactions": reactions.run,
        "routing.work": projection.run,
    }
    return RunningService(
        application=application, app=app, jobs=jobs, projections=(projection,), submissions=Submissions(application),
    )  # fmt: skip


SERVICE = Service(
    owner=Owner.ROUTING,
    statements=STATEMENTS,
    migrations=Path(__file__).parent / "migrations",
    publishes=(CASE_EVENTS, ANY_RECEIPT, ANY_DOCUMENT, WIPE_SUBMISSION),
    reactions=REACTIONS,
    build=build,
    messages=messages,
)
