"""A city's supervision system: it takes whatever is overdue in its region.

`SUBSCRIBER_URL=nats://subscriber-demo:<password>@127.0.0.1:4222 faststream run docs.examples.supervisor:app`
"""

import os

from shared.client import FeedItem, SupervisorClient

supervisor = SupervisorClient("demo", os.environ.get("SUBSCRIBER_URL", "nats://127.0.0.1:4222"))
app = supervisor.app


@supervisor.items
async def late(item: FeedItem) -> None:
    """Which kinds and regions come is declared by the operator; an exception here brings the item again."""
    case = item.data
    print(case.kind, case.number, case.region, case.stage, case.due, flush=True)
