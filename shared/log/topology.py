"""Subjects and stream configurations, all in this file.

A log stream holds one area: a province, a city (by default) or a county, named by the first 2, 4 or 6 digits of its
region code (GB/T 33200-2016, clause 4). Areas do not overlap. They may be added but never change, so that an aggregate
stays in its stream.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Any

from shared.case.base import EVENT_BYTES_MAX, Address, region_prefix
from shared.log.port import ACK_WAIT_S, NoArea

KINDS = ("case", "order")
LOG_PREFIX = "LOG_"
SUBMISSIONS = "SUBMISSIONS"
RECEIPTS = "RECEIPTS"
PROGRESS = "PROGRESS"
REFERENCE = "REFERENCE"
FEED = "FEED"
PARKED = "PARKED"
ATTACHMENTS = "ATTACHMENTS"  # an object store bucket
SUBMITTED = "submit.>"
CASE_EVENTS, ORDER_EVENTS = "case.>", "order.>"
ANY_RECEIPT, ANY_PROGRESS, ANY_DOCUMENT = "receipt.>", "progress.>", "reference.>"
RECEIPT_SUBJECTS, PROGRESS_SUBJECTS = "receipt.*.*", "progress.*.*"
FEED_ITEMS = "feed.>"
FEED_MARK = "feed.mark"  # how far the writer of the feed has read, when its last events gave no item

SUBSCRIBER_PREFIX = "subscriber-"  # of users and durables of subscribers, which read FEED over NATS
SUBSCRIBER_DOMAIN = "caseflow"  # the JetStream domain under which their accounts reach their durable
SUBSCRIBER_PULL_COUNT_MAX, SUBSCRIBER_PULL_S_MAX, SUBSCRIBER_PULLS_MAX = 500, 30, 16
SUBSCRIBER_PENDING_COUNT_MAX = 1000

SUBMISSION_AGE_S_MAX = 7 * 24 * 3600
DUPLICATE_WINDOW_S = 120
DUPLICATE_WINDOW_NS_MIN = 100_000_000
REFERENCE_BYTES_MAX = 1024 * 1024
LOG_MESSAGE_BYTES_MAX = (
    EVENT_BYTES_MAX + 4096
)  # the size counts headers; envelope.py refuses a large event before, with a clearer message
# The flags of a log stream: no stored message is changed or removed.
LOG_FLAGS = {"deny_delete": True, "deny_purge": True, "allow_rollup_hdrs": False, "sealed": False, "discard": "new"}
# Settings that a log stream must not have: they remove messages, or end the effect of `deny_purge`.
LOG_FORBIDDEN = (
    "allow_msg_schedules", "allow_msg_ttl", "max_age", "max_msgs", "max_bytes", "max_msgs_per_subject",
    "subject_transform", "mirror", "sources", "no_ack",
)  # fmt: skip

_ADDRESS = re.compile(r"[0-9]{12}/[A-Za-z0-9_-]{1,64}")  # no wildcard and no dot may get into a subject
_TOKEN = re.compile(r"[A-Za-z0-9_=-]{1,128}")

# The subjects that a service may publish on besides those of its own messages.
WIPE_SUBMISSION = (
    "$JS.API.STREAM.MSG.DELETE.SUBMISSIONS"  # a submission holds content in the clear until it is answered
)
ATTACHMENTS_STORE = ("$O.ATTACHMENTS.C.>",)
# Intake stores a file. Supervision removes it with its erased case, by a mark in the index and a purge of the chunks.
ATTACHMENTS_REMOVAL = ("$O.ATTACHMENTS.M.>", "$JS.API.STREAM.PURGE.OBJ_ATTACHMENTS")


_PARTS = ((0, 2), (2, 4), (4, 6), (6, 9), (9, 12))  # of a region code, by level


def _dotted(region: str) -> str:
    return ".".join(region[start:end] for start, end in _PARTS)


def tokens(area: str) -> str:
    """The subject tokens of an area: "5101" -> "51.01" (GB/T 33200-2016 clause 4). Raises ValueError."""
    if not re.fullmatch(r"[0-9]{2}([0-9]{2}){0,2}", area):
        raise ValueError(f"not an area: {area!r}; expected the first 2, 4 or 6 digits of a region code")
    return ".".join(area[start : start + 2] for start in range(0, len(area), 2))


def token(text: str) -> str:
    """`text` as one token of a subject; as `sha256-` and its digest in hex when a token cannot hold it."""
    return text if _TOKEN.fullmatch(text) else "sha256-" + sha256(text.encode()).hexdigest()


def _source(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"not the name of a source: {name!r}; letters, digits, - _ and = make one token of a subject")
    return name


def submission(source: str, region: str) -> str:
    """The subject for submissions of a platform. Raises ValueError for a source that is not one token."""
    return f"submit.{_source(source)}.{_dotted(region)}"


def submissions(source: str, area: str) -> str:
    """The pattern of the submissions of a platform in an area, "5101"."""
    return f"submit.{_source(source)}.{tokens(area)}.>"


def receipts(source: str) -> str:
    """The pattern of all receipts of a platform."""
    return f"receipt.{_source(source)}.>"


def progresses(source: str) -> str:
    """The pattern of the progress of all cases of a platform."""
    return f"progress.{_source(source)}.>"


def receipt(source: str, id: str) -> str:
    """The subject of the receipt for submission `id` of `source`."""
    return f"receipt.{_source(source)}.{token(id)}"


def progress(source: str, number: str) -> str:
    """The subject for the progress of a platform's case, by case number."""
    return f"progress.{_source(source)}.{token(number)}"


def reference(kind: str, region: str | None = None) -> str:
    """The subject of a reference document, by kind and region (None: of the whole installation)."""
    return f"reference.{token(kind)}.{region or '0'}"


def feed(kind: str, level: int, region: str, case_id: str) -> str:
    """The subject of a feed item, by level and region of the centre in charge."""
    return f"feed.{token(kind)}.{level}.{_dotted(region)}.{token(case_id)}"


def feeds(region: str, kind: str = "*", level: int | None = None) -> str:
    """The filter for feed items of the centres in a region, of one kind and level or of any."""
    digits = region_prefix(region)
    parts = [digits[start:end] for start, end in _PARTS if digits[start:end]]
    return f"feed.{kind}.{level or '*'}.{'.'.join(parts)}.>"


def feeds_of(id: str, kind: str = "*") -> str:
    """The filter for feed items of one case or order, for any centre."""
    return f"feed.{kind}.*.{'.'.join('*' * len(_PARTS))}.{token(id)}"


def subscriber_name(name: str) -> str:
    """The name of a subscriber's NATS user and of its durable on FEED. Raises ValueError for more than one token."""
    return f"{SUBSCRIBER_PREFIX}{_source(name)}"


def inbox_prefix(user: str) -> str:
    """The prefix of a partner's inboxes; its user may subscribe to no other."""
    return f"_INBOX_{user}"


def subscription(name: str, subjects: Sequence[str]) -> dict[str, Any]:
    """The durable consumer of a subscriber, as the body of CONSUMER.CREATE in the JetStream API.

    It delivers only items that match `subjects`. The limits bound the waiting pulls of a subscriber and its deliveries
    without acknowledgement.
    """
    return {
        "durable_name": subscriber_name(name),
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "ack_wait": ACK_WAIT_S * 10**9,
        "max_deliver": -1,
        "max_ack_pending": SUBSCRIBER_PENDING_COUNT_MAX,
        "max_waiting": SUBSCRIBER_PULLS_MAX,
        "max_batch": SUBSCRIBER_PULL_COUNT_MAX,
        "max_expires": SUBSCRIBER_PULL_S_MAX * 10**9,
        "filter_subjects": list(subjects),
    }


def durable_of_reactions(service: str) -> str:
    """The name of the durable of a service on each log stream."""
    return f"{service}-reactions"


def api(call: str, domain: str = "") -> str:
    """The subject of a call of the JetStream API, as `CONSUMER.INFO.<stream>.<name>`; of another account by domain."""
    return f"$JS.{domain}.API.{call}" if domain else f"$JS.API.{call}"


def parked(service: str, reaction: str) -> str:
    """The subject for events that a reaction could not handle."""
    return f"parked.{token(service)}.{token(reaction)}"


@dataclass(frozen=True)
class Topology:
    """The streams of one installation: its areas, and the count of replicas of each stream.

    Raises ValueError for areas that overlap or do not have 2, 4 or 6 digits.
    """

    areas: tuple[str, ...]
    replicas: int = 1

    def __post_init__(self) -> None:
        if not self.areas:
            raise ValueError("no areas: name at least one, for example 5101")
        for area in self.areas:
            tokens(area)
        ordered = sorted(self.areas)
        for area, following in pairwise(ordered):
            if following.startswith(area):
                raise ValueError(f"areas overlap: {area} and {following}; an aggregate lives in exactly one stream")
        object.__setattr__(self, "_stream_by_area", {area: LOG_PREFIX + area for area in self.areas})

    @property
    def streams(self) -> tuple[str, ...]:
        """The names of the log streams, in the order of the areas."""
        return tuple(LOG_PREFIX + area for area in self.areas)

    def stream_of(self, address: Address) -> str:
        """The log stream of an aggregate. Raises NoArea."""
        by_area: dict[str, str] = self.__dict__["_stream_by_area"]
        region = address.region
        stream = by_area.get(region[:4]) or by_area.get(region[:6]) or by_area.get(region[:2])
        if stream is None or address.kind not in KINDS or not _ADDRESS.fullmatch(f"{region}/{address.id}"):
            raise NoArea(
                f"no log stream for {address.subject}: areas are {', '.join(self.areas)}, kinds {', '.join(KINDS)}"
            )
        return stream

    def check(self, stream: str) -> str:
        """`stream`, when it is a log stream of this installation. Raises NoArea."""
        if stream not in self.streams:
            raise NoArea(f"no log stream {stream!r} here; there are {', '.join(self.streams)}")
        return stream

    def configurations(self) -> list[dict[str, Any]]:
        """The configurations of all streams, as the body of STREAM.CREATE in the JetStream API."""
        return [self._log(area) for area in self.areas] + [
            self._submissions(),
            self._stream(RECEIPTS, ANY_RECEIPT),
            self._stream(PROGRESS, ANY_PROGRESS),
            self._stream(REFERENCE, ANY_DOCUMENT, max_msg_size=REFERENCE_BYTES_MAX, **LOG_FLAGS),
            self._stream(FEED, FEED_ITEMS, allow_atomic=True, **LOG_FLAGS),
            self._stream(PARKED, "parked.>"),
            # An object store bucket in the form of NATS clients: chunks, and the records that name them.
            self._stream(
                f"OBJ_{ATTACHMENTS}", f"$O.{ATTACHMENTS}.C.>", f"$O.{ATTACHMENTS}.M.>", allow_rollup_hdrs=True
            ),
        ]

    def _submissions(self) -> dict[str, Any]:
        return self._stream(
            SUBMISSIONS, SUBMITTED, max_age=SUBMISSION_AGE_S_MAX * 10**9, max_msg_size=LOG_MESSAGE_BYTES_MAX,
            # All publishers share the name space of Nats-Msg-Id. Of two platforms that both use the id "1", one would
            # lose its submission. The window is as short as the server allows; claims find repeated submissions.
            duplicate_window=DUPLICATE_WINDOW_NS_MIN,
        )  # fmt: skip

    def _log(self, area: str) -> dict[str, Any]:
        subjects = [f"{kind}.{tokens(area)}.>" for kind in KINDS]
        return self._stream(LOG_PREFIX + area, *subjects, max_msg_size=LOG_MESSAGE_BYTES_MAX, **LOG_FLAGS)

    def _stream(self, name: str, *subjects: str, **more: Any) -> dict[str, Any]:
        return {
            "name": name,
            "subjects": list(subjects),
            "storage": "file",
            "retention": "limits",
            "discard": "new",
            "num_replicas": self.replicas,
            "allow_direct": True,
            "duplicate_window": DUPLICATE_WINDOW_S * 10**9,
            **more,
        }
