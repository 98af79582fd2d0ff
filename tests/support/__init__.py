"""What tests of several tiers share."""

import os

DEEP = os.environ.get("CASEFLOW_DEEP") == "1"
"""Whether the tests run at length (`make test-deep`). Read here, before tests/conftest.py clears CASEFLOW_*."""
