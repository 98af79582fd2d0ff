"""Routing over NATS: commands of platforms in, one receipt for each out."""

from __future__ import annotations

from shared.kit.messaging import Router, submissions_router


def messages() -> Router:
    """The messages that routing hears and says, for one broker."""
    return submissions_router("routing")
