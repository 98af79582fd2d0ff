"""Reporting, put together: its routes, its read model, the sweep of its search index."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from services.reporting import http, stream
from services.reporting.store import CaseQueries, Model, sweep
from shared.kit.projections import ProjectionRunner
from shared.kit.service import Job, Kit, Service, web_app


def build(kit: Kit) -> Service:
    """The service around its kit."""
    app = web_app(kit, "reporting")
    model = Model(kit.vault)
    reads = CaseQueries(kit.database, model)
    app.include_router(http.router(kit, reads))
    app.include_router(stream.router(kit, reads))
    projector = ProjectionRunner(model, kit.database, kit.log, kit.clock, kit.reached, kit.handler.made)
    jobs: Mapping[str, Job] = {
        "reporting.project": projector.run,
        "reporting.sweep": partial(sweep, kit.database, kit.clock),
    }
    return Service(kit, app, jobs)
