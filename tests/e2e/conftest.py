"""The running stack, and everybody's desk at it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.client import Desk
from tests.support.short_limits import publish_short_limits
from tests.support.stack import Stack


@pytest.fixture(scope="session")
def desk(stack: Stack) -> Iterator[Desk]:
    one = Desk(stack.url)
    yield one
    one.close()


@pytest.fixture(scope="session")
def hours(desk: Desk, stack: Stack) -> None:
    """Limits in hours are in force for cases of their own subjects."""
    publish_short_limits(desk, stack)
