"""The embedded NATS and Postgres, their configuration, and the composition of all four services."""
