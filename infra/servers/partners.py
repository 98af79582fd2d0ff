"""The partners of an installation, which use it over NATS: platforms that submit, subscribers that read the feed.

The file `partners.yaml` of the data folder, or the one that CASEFLOW_PARTNERS names, declares them. A change takes
effect at the next start:

    platforms:
      - {source: hotline, areas: ["5101"]}
    subscribers:
      - {name: city-watch, regions: ["510100000000"], kinds: [overdue, escalated], levels: [3, 4]}
      - {name: audit, regions: ["510000000000"], replays: true}

The NATS user of a platform is `platform-<source>`, that of a subscriber `subscriber-<name>`. Their passwords are in
`secrets/passwords.json` of the data folder. A partner that is no longer declared has no user. The durable of a
subscriber stays and keeps its position.
"""

from __future__ import annotations

from itertools import combinations, product
from typing import Annotated, Any

import yaml
from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError, field_validator
from pydantic.dataclasses import dataclass

from shared.case.announcements import FeedKind
from shared.case.base import Region, contains
from shared.kit.settings import BadSettings, Settings
from shared.log.topology import (
    FEED,
    PROGRESS,
    RECEIPTS,
    SUBSCRIBER_DOMAIN,
    api,
    feeds,
    inbox_prefix,
    progresses,
    receipts,
    submissions,
    subscriber_name,
)

PartnerName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_=-]{1,64}$")]  # one token of a subject
_FIELDS = ConfigDict(extra="forbid", hide_input_in_errors=True)
ANY: tuple[str, ...] = ("*",)


@dataclass(frozen=True, config=_FIELDS)
class Platform:
    """A system that submits cases over NATS under the name `source`, for `areas` (region prefixes such as "5101")."""

    source: PartnerName
    areas: tuple[str, ...]

    @property
    def user(self) -> str:
        """The name of its NATS user."""
        return f"platform-{self.source}"

    @property
    def inbox_prefix(self) -> str:
        """The inbox prefix that its client must use: it hears no other inbox."""
        return inbox_prefix(self.user)

    @property
    def requests(self) -> tuple[str, ...]:
        """The subjects that it may publish on."""
        answers = ((RECEIPTS, receipts(self.source)), (PROGRESS, progresses(self.source)))
        return (
            *(submissions(self.source, area) for area in self.areas),
            *(api(f"DIRECT.GET.{stream}.{subject}") for stream, subject in answers),
        )

    @property
    def hears(self) -> tuple[str, ...]:
        """The subjects that it may subscribe to."""
        return receipts(self.source), progresses(self.source)


@dataclass(frozen=True, config=_FIELDS)
class Subscriber:
    """A system that reads feed items of the centres in `regions`, of all kinds and levels unless some are named.

    A subscriber with `replays` may set its durable back and read again, as an auditor does.
    """

    name: PartnerName
    regions: Annotated[tuple[Region, ...], Field(min_length=1)]
    kinds: tuple[FeedKind, ...] = ()
    levels: tuple[Annotated[int, Field(ge=1, le=5)], ...] = ()
    replays: bool = False

    @field_validator("regions")
    @classmethod
    def _apart(cls, regions: tuple[str, ...]) -> tuple[str, ...]:
        for region, other in combinations(regions, 2):
            if contains(region, other) or contains(other, region):
                raise ValueError(f"{region} and {other} overlap: name the larger one only")
        return regions

    @property
    def user(self) -> str:
        """The name of its NATS user, and of its durable consumer on FEED."""
        return subscriber_name(self.name)

    @property
    def inbox_prefix(self) -> str:
        """The inbox prefix that its client must use: it hears no other inbox."""
        return inbox_prefix(self.user)

    @property
    def subjects(self) -> tuple[str, ...]:
        """The subjects of FEED that its durable delivers."""
        kinds = tuple(map(str, self.kinds)) or ANY
        return tuple(
            feeds(region, kind, level) for region, kind, level in product(self.regions, kinds, self.levels or (None,))
        )

    @property
    def requests(self) -> dict[str, str]:
        """The subjects of our account that it may send requests to, each with its subject in the partner's account.

        The JetStream API has another prefix there, because that account itself answers requests under `$JS.API`.
        """
        verbs = ["MSG.NEXT", "INFO", *(["RESET"] if self.replays else [])]
        calls = [f"CONSUMER.{verb}.{FEED}.{self.user}" for verb in verbs]
        acknowledges = f"$JS.ACK.{FEED}.{self.user}.>"
        return {api(call): api(call, SUBSCRIBER_DOMAIN) for call in calls} | {acknowledges: acknowledges}


@dataclass(frozen=True, config=_FIELDS)
class Partners:
    """The partners of one installation. Raises ValidationError for a name that comes twice."""

    platforms: tuple[Platform, ...] = ()
    subscribers: tuple[Subscriber, ...] = ()

    @field_validator("platforms", "subscribers")
    @classmethod
    def _distinct(cls, partners: tuple[Any, ...]) -> tuple[Any, ...]:
        users = [partner.user for partner in partners]
        if twice := next((user for user in users if users.count(user) > 1), None):
            raise ValueError(f"{twice} is declared twice")
        return partners

    @property
    def users(self) -> tuple[str, ...]:
        """The names of their NATS users."""
        return (*(platform.user for platform in self.platforms), *(reader.user for reader in self.subscribers))


DEMO_PLATFORM = Platform("demo", ("5101", "5107"))
DEMO_SUBSCRIBER = Subscriber("demo", ("510100000000",), (FeedKind.OVERDUE, FeedKind.ESCALATED))
DEMO_AUDITOR = Subscriber("audit", ("510000000000",), replays=True)
DEMO_PARTNERS = Partners((DEMO_PLATFORM,), (DEMO_SUBSCRIBER, DEMO_AUDITOR))


def load_partners(settings: Settings) -> Partners | None:
    """The declared partners; without a file those of the demo, or None where servers and partners are the operator's.

    Raises BadSettings.
    """
    file = settings.partners_file
    if settings.partners is None and not file.exists():
        return DEMO_PARTNERS if settings.demo else None
    try:
        return TypeAdapter(Partners).validate_python(yaml.safe_load(file.read_text("utf-8")) or {})
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadSettings(f"{file} cannot be read: {type(error).__name__}; see CASEFLOW_PARTNERS") from None
    except ValidationError as error:
        lines = (f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors(include_input=False))
        raise BadSettings(f"{file} cannot be used: " + "; ".join(lines)) from None
