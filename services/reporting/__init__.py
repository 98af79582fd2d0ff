"""Reporting appends nothing to a case: it reads, shows and proves, and could be deleted without harm to a case."""
