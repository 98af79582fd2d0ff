"""Routing owns the way of a case through units and people: triage, assignment, signing, handling, settling, closing."""
