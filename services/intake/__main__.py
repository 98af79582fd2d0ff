"""`python -m services.intake`: this service alone, with external NATS and Postgres named by settings."""

from infra.cli import app

app(["serve", "intake"], prog_name="caseflow")
