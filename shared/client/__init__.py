"""For Python programs that speak with caseflow over NATS: a platform, a supervisor, an auditor; on FastStream.

    PlatformClient    publishes commands, hears receipts and progress   docs/platforms.md, docs/examples/platform.py
    SupervisorClient  takes the feed items that are declared for it     docs/feeds.md, docs/examples/supervisor.py
    AuditorClient     takes them again from any place on                docs/feeds.md, docs/examples/auditor.py

Each has a `broker` (faststream.nats.NatsBroker), so that `TestNatsBroker` runs its handlers without a server, and an
`app` for `faststream run`. Messages are typed: Receipt, Progress, FeedItem.
"""

from shared.client.feed import AuditorClient, SupervisorClient
from shared.client.platform import PlatformClient
from shared.kit.bodies import RegisterBody
from shared.kit.feed_item import FeedData, FeedItem
from shared.kit.submission import Envelope, Progress, Receipt
from shared.log.port import LogUnavailable

__all__ = [
    "AuditorClient",
    "Envelope",
    "FeedData",
    "FeedItem",
    "LogUnavailable",
    "PlatformClient",
    "Progress",
    "Receipt",
    "RegisterBody",
    "SupervisorClient",
]
