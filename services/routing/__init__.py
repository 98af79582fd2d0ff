"""Routing owns who has a case and what they do: triage, assignment, signing, handling, settling, closing."""
