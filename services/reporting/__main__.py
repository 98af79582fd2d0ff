"""`python -m services.reporting`: this service alone, with external NATS and Postgres named by settings."""

from infra.cli import app

app(["serve", "reporting"], prog_name="caseflow")
