"""What tests of several tiers share."""

import os

DEEP = os.environ.get("CASEFLOW_DEEP") == "1"
"""Whether the tests run at length (`make test-deep`). Read here, before tests/conftest.py clears CASEFLOW_*."""

STRICT = os.environ.get("CASEFLOW_BUDGET") == "strict"
"""Whether a tier over its budget of time fails the run: for a quiet machine, since wall time on a shared one lies."""
