"""The wiring of reporting: its routes, its read model, the sweep of its search index."""

from __future__ import annotations

from pathlib import Path

from services.reporting import event_stream, http
from services.reporting.jobs import SearchSweep
from services.reporting.queries import STATEMENTS, CaseQueries
from services.reporting.read_model import Model
from shared.case.base import Owner
from shared.kit.application import Application
from shared.kit.data import Data
from shared.kit.identity import Identity
from shared.kit.projections import ProjectionRunner
from shared.kit.runtime import Runtime
from shared.kit.service import RunningService, Service
from shared.kit.web_app import web_app


def build(*, identity: Identity, data: Data, runtime: Runtime) -> RunningService:
    """The service on these connections."""
    application = Application(identity=identity, data=data, runtime=runtime)
    model = Model(data.vault)
    app = web_app(application, http.router, event_stream.router, operations=Path(__file__).with_name("operations.yaml"))
    app.state.queries = CaseQueries(data.database, model)
    app.state.event_listeners = event_stream.listener_slots(runtime)
    projection = ProjectionRunner(model=model, database=data.database, log=data.log, runtime=runtime)
    jobs = {
        "reporting.project": projection.run,
        "reporting.sweep": SearchSweep(data.database, runtime.clock).run,
    }
    return RunningService(
        application=application, app=app, jobs=jobs, projections=(projection,),
    )  # fmt: skip


SERVICE = Service(
    owner=Owner.REPORTING,
    statements=STATEMENTS,
    migrations=Path(__file__).parent / "migrations",
    publishes=(),
    reactions=(),
    build=build,
)
