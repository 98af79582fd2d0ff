"""Supervision over NATS: commands of platforms in, one receipt for each out."""

from __future__ import annotations

from shared.kit.messaging import Router, StreamDelivery, announce_stream, given, pull_deliveries
from shared.kit.submissions import AT_ONCE_COUNT_MAX, Submissions
from shared.log.topology import RECEIPT_SUBJECTS, RECEIPTS, SUBMISSIONS, SUBMITTED


async def take(delivery: StreamDelivery) -> None:
    """Answer a submission; those of other services pass by."""
    submissions: Submissions = given("submissions")
    await submissions.take(delivery)


def messages() -> Router:
    """The messages that supervision hears and says, for one broker: a router of FastStream serves no second one."""
    router, durable = Router(), "supervision-submissions"
    announce_stream(router, RECEIPT_SUBJECTS, stream=RECEIPTS)
    pull_deliveries(router, SUBMITTED, stream=SUBMISSIONS, durable=durable, at_once=AT_ONCE_COUNT_MAX)(take)
    return router
