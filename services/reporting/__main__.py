"""`python -m services.reporting`: this service alone, with external NATS and Postgres named by settings."""

from shared.case.base import Owner
from shared.cli import serve

serve(Owner.REPORTING)
