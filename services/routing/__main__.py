"""`python -m services.routing`: this service alone, with external NATS and Postgres named by settings."""

from infra.cli import app

app(["serve", "routing"], prog_name="caseflow")
