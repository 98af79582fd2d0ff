"""The tools of an operator on an installation: doctor and rebuild."""
