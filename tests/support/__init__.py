"""Modules that tests of several tiers share."""

import os

DEEP = os.environ.get("CASEFLOW_DEEP") == "1"
"""Whether the deep tests run (`make test-deep`). Read here, before tests/conftest.py clears CASEFLOW_*."""

STRICT = os.environ.get("CASEFLOW_BUDGET") == "strict"
"""Whether a tier over its time budget fails the run: for a quiet machine, as a shared one distorts wall time."""
