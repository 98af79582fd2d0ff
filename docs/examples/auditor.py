"""An auditor: it reads the feed from its beginning and counts who was late, and what was taken back.

`AUDITOR_URL=nats://subscriber-audit:<password>@127.0.0.1:4222 python -m docs.examples.auditor`
"""

import asyncio
import os
from collections import Counter

from shared.client import AuditorClient, FeedItem

auditor = AuditorClient("audit", os.environ.get("AUDITOR_URL", "nats://127.0.0.1:4222"))
late: Counter[str] = Counter()
heard: set[str] = set()


@auditor.items
async def count(item: FeedItem) -> None:
    if item.id in heard:  # an item may come twice
        return
    heard.add(item.id)
    who = item.data.unit or item.data.in_charge
    late[who] += {"overdue": 1, "annulled": -1}.get(item.data.kind, 0)


async def main() -> None:
    await auditor.replay()
    for who, times in late.most_common():
        print(who, times)
    print(len(heard), "items")


if __name__ == "__main__":
    asyncio.run(main())
