"""Intake owns the birth of a case and what the resident says of it: registration, supplements, repeats, ratings."""
