"""The list of the four services, for the composition, NATS users, Postgres roles, doctor and generators."""

from __future__ import annotations

from services.intake.app import SERVICE as INTAKE
from services.reporting.app import SERVICE as REPORTING
from services.routing.app import SERVICE as ROUTING
from services.supervision.app import SERVICE as SUPERVISION
from shared.case.base import Owner
from shared.kit.service import Service

SERVICES: tuple[Service, ...] = (INTAKE, ROUTING, SUPERVISION, REPORTING)
BY_OWNER: dict[Owner, Service] = {service.owner: service for service in SERVICES}
OWNERS: tuple[Owner, ...] = tuple(BY_OWNER)
