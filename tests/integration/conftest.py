"""Servers that a test may kill: one of its own."""

from tests.contract.conftest import server

__all__ = ["server"]
