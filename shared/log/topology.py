"""The one file that knows subjects and stream configurations.

A log stream belongs to an area: a province, a city (by default) or a county, written by its 2, 4 or 6 digits of the
region code (GB/T 33200-2016, clause 4). Areas do not overlap, may be added and are never redrawn, so an aggregate
never changes its stream.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Any

from shared.case.base import EVENT_BYTES_MAX, Address, region_prefix
from shared.log.port import NoArea

KINDS = ("case", "order")
LOG_PREFIX = "LOG_"
SUBMISSIONS = "SUBMISSIONS"
RECEIPTS = "RECEIPTS"
PROGRESS = "PROGRESS"
REFERENCE = "REFERENCE"
FEED = "FEED"
PARKED = "PARKED"
ATTACHMENTS = "ATTACHMENTS"  # an object store bucket
FEED_ITEMS = "feed.>"
FEED_MARK = "feed.mark"  # how far the feed's writer has read, where no item says so

SUBMISSION_AGE_S_MAX = 7 * 24 * 3600
DUPLICATE_WINDOW_S = 120
DUPLICATE_WINDOW_NS_MIN = 100_000_000
REFERENCE_BYTES_MAX = 1024 * 1024
LOG_MESSAGE_BYTES_MAX = EVENT_BYTES_MAX + 4096  # headers count; envelope.py refuses first, with a better message
# What makes a stream a log: nothing taken is ever changed or lost again.
LOG_FLAGS = {"deny_delete": True, "deny_purge": True, "allow_rollup_hdrs": False, "sealed": False, "discard": "new"}
# A stream that has any of these set is no log: they remove messages, or silently lift `deny_purge`.
LOG_FORBIDDEN = (
    "allow_msg_schedules", "allow_msg_ttl", "max_age", "max_msgs", "max_bytes", "max_msgs_per_subject",
    "subject_transform", "mirror", "sources", "no_ack",
)  # fmt: skip

_ADDRESS = re.compile(r"[0-9]{12}/[A-Za-z0-9_-]{1,64}")  # no wildcard and no dot may reach a subject
_TOKEN = re.compile(r"[A-Za-z0-9_=-]{1,128}")

# What a service may publish on besides the subjects of its own messages.
WIPE_SUBMISSION = "$JS.API.STREAM.MSG.DELETE.SUBMISSIONS"  # a submission holds content in the open until it is answered
ATTACHMENTS_STORE = ("$O.ATTACHMENTS.C.>",)
# Intake puts a file, supervision removes it with its erased case: a mark in the index, a purge of the pieces.
ATTACHMENTS_REMOVAL = ("$O.ATTACHMENTS.M.>", "$JS.API.STREAM.PURGE.OBJ_ATTACHMENTS")


_PARTS = ((0, 2), (2, 4), (4, 6), (6, 9), (9, 12))  # of a region code, level by level


def _dotted(region: str) -> str:
    return ".".join(region[start:end] for start, end in _PARTS)


def token(text: str) -> str:
    """`text` as one token of a subject: itself, or `sha256-` and its digest in hex when a subject cannot hold it."""
    return text if _TOKEN.fullmatch(text) else "sha256-" + sha256(text.encode()).hexdigest()


def _source(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"not the name of a source: {name!r}; letters, digits, - _ and = make one token of a subject")
    return name


def submission(source: str, region: str) -> str:
    """Where a platform publishes a command of the catalogue. Raises ValueError for a name that is not one token."""
    return f"submit.{_source(source)}.{_dotted(region)}"


def receipt(source: str, id: str) -> str:
    """Where the answer to the submission `id` of `source` goes."""
    return f"receipt.{_source(source)}.{token(id)}"


def progress(source: str, number: str) -> str:
    """Where the progress of a platform's case goes, by case number."""
    return f"progress.{_source(source)}.{token(number)}"


def reference(kind: str, region: str | None = None) -> str:
    """Where the reference documents of one kind and region (None: of the whole installation) are published."""
    return f"reference.{token(kind)}.{region or '0'}"


def feed(kind: str, level: int, region: str, case_id: str) -> str:
    """Where a feed item goes: level and region are those of the centre now in charge."""
    return f"feed.{token(kind)}.{level}.{_dotted(region)}.{token(case_id)}"


def feeds(region: str, kind: str = "*", level: int | None = None) -> str:
    """The feed items for the centres of a region and below it: of one kind and level, or of any."""
    digits = region_prefix(region)
    parts = [digits[start:end] for start, end in _PARTS if digits[start:end]]
    return f"feed.{kind}.{level or '*'}.{'.'.join(parts)}.>"


def feeds_of(id: str, kind: str = "*") -> str:
    """The feed items of one case or order, whichever centres they are for."""
    return f"feed.{kind}.*.{'.'.join('*' * len(_PARTS))}.{token(id)}"


def parked(service: str, reaction: str) -> str:
    """Where a reaction leaves what it could not do, with the reason."""
    return f"parked.{token(service)}.{token(reaction)}"


@dataclass(frozen=True)
class Topology:
    """The streams of one installation: its areas and how many replicas each stream has.

    Raises ValueError for areas that overlap or are not 2, 4 or 6 digits.
    """

    areas: tuple[str, ...]
    replicas: int = 1

    def __post_init__(self) -> None:
        if not self.areas:
            raise ValueError("no areas: name at least one, for example 5101")
        for area in self.areas:
            if not re.fullmatch(r"[0-9]{2}([0-9]{2}){0,2}", area):
                raise ValueError(f"not an area: {area!r}; expected the first 2, 4 or 6 digits of a region code")
        ordered = sorted(self.areas)
        for one, next_ in pairwise(ordered):
            if next_.startswith(one):
                raise ValueError(f"areas overlap: {one} and {next_}; an aggregate lives in exactly one stream")
        object.__setattr__(self, "_stream_by_area", {area: LOG_PREFIX + area for area in self.areas})

    @property
    def streams(self) -> tuple[str, ...]:
        """The names of the log streams, in the order of the areas."""
        return tuple(LOG_PREFIX + area for area in self.areas)

    def stream_of(self, address: Address) -> str:
        """The log stream of an aggregate. Raises NoArea."""
        known: dict[str, str] = self.__dict__["_stream_by_area"]
        region = address.region
        found = known.get(region[:4]) or known.get(region[:6]) or known.get(region[:2])
        if found is None or address.kind not in KINDS or not _ADDRESS.fullmatch(f"{region}/{address.id}"):
            raise NoArea(
                f"no log stream for {address.subject}: areas are {', '.join(self.areas)}, kinds {', '.join(KINDS)}"
            )
        return found

    def check(self, stream: str) -> str:
        """`stream` when it is a log stream here. Raises NoArea."""
        if stream not in self.streams:
            raise NoArea(f"no log stream {stream!r} here; there are {', '.join(self.streams)}")
        return stream

    def configurations(self) -> list[dict[str, Any]]:
        """Every stream as the server takes it (JetStream API, STREAM.CREATE)."""
        return [self._log(area) for area in self.areas] + [
            self._submissions(),
            self._stream(RECEIPTS, "receipt.>"),
            self._stream(PROGRESS, "progress.>"),
            self._stream(REFERENCE, "reference.>", max_msg_size=REFERENCE_BYTES_MAX, **LOG_FLAGS),
            self._stream(FEED, FEED_ITEMS, allow_atomic=True, **LOG_FLAGS),
            self._stream(PARKED, "parked.>"),
            # An object store bucket in the form that NATS clients know (its chunks and its records of them).
            self._stream(
                f"OBJ_{ATTACHMENTS}", f"$O.{ATTACHMENTS}.C.>", f"$O.{ATTACHMENTS}.M.>", allow_rollup_hdrs=True
            ),
        ]

    def _submissions(self) -> dict[str, Any]:
        return self._stream(
            SUBMISSIONS, "submit.>", max_age=SUBMISSION_AGE_S_MAX * 10**9, max_msg_size=LOG_MESSAGE_BYTES_MAX,
            # Nats-Msg-Id is one name space for all publishers: of two platforms that both say "1" one would lose its
            # submission. The claim makes it happen once; the server's own window is as short as the server allows.
            duplicate_window=DUPLICATE_WINDOW_NS_MIN,
        )  # fmt: skip

    def _log(self, area: str) -> dict[str, Any]:
        levels = ".".join(area[at : at + 2] for at in range(0, len(area), 2))
        subjects = [f"{kind}.{levels}.>" for kind in KINDS]
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
