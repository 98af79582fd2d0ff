"""`python -m services.supervision`: this service alone, with external NATS and Postgres named by settings."""

from infra.cli import app

app(["serve", "supervision"], prog_name="caseflow")
