"""The NATS configuration as a pure function."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra.servers.nats_config import ADMIN, accounts, server_config
from infra.servers.partners import DEMO_PARTNERS, Partners, Platform, Subscriber, load_partners
from infra.servers.services import OWNERS
from shared.case.announcements import FeedKind
from shared.kit.settings import BadSettings, Settings
from shared.log.topology import tokens

DEMO, OTHER = Platform("demo", ("5101", "5107")), Platform("other", ("44",))
CITY = Subscriber("city", ("510100000000",), (FeedKind.OVERDUE, FeedKind.ESCALATED), (3, 4))
AUDIT = Subscriber("audit", ("510000000000",), replays=True)
PARTNERS = Partners((DEMO, OTHER), (CITY, AUDIT))
PASSWORDS = {user: f"secret of {user}" for user in (ADMIN, *map(str, OWNERS), *PARTNERS.users)}


@pytest.mark.parametrize(("area", "subject"), [("51", "51"), ("5101", "51.01"), ("510104", "51.01.04")])
def test_an_area_as_subject(area: str, subject: str) -> None:
    assert tokens(area) == subject


@pytest.mark.parametrize("area", ["", "5", "510", "51>1", "51010400", "*"])
def test_what_is_no_area(area: str) -> None:
    with pytest.raises(ValueError, match=r"not an area: .*first 2, 4 or 6 digits"):
        tokens(area)


def test_platforms_live_apart_and_name_only_themselves() -> None:
    """Each in an account of its own, and nothing it may ask or hear bears another's name."""
    made = accounts(PASSWORDS, Partners((DEMO, OTHER)), 1)
    assert set(made) == {"CASEFLOW", "PLATFORM_demo", "PLATFORM_other"}
    for mine, theirs in ((DEMO, OTHER), (OTHER, DEMO)):
        text = json.dumps(made[f"PLATFORM_{mine.source}"])
        assert theirs.source not in text
        assert "submit." + mine.source in text
    exports = made["CASEFLOW"]["exports"]
    assert {"service": "submit.demo.51.07.>", "accounts": ["PLATFORM_demo"]} in exports
    assert all(len(export["accounts"]) == 1 for export in exports)


def test_subscribers_live_apart_and_ask_for_their_own_durable_only() -> None:
    made = accounts(PASSWORDS, PARTNERS, 1)
    for mine, theirs in ((CITY, AUDIT), (AUDIT, CITY)):
        account = made[f"SUBSCRIBER_{mine.name}"]
        assert theirs.user not in json.dumps(account)
        subjects = [entry["service"]["subject"] for entry in account["imports"]]
        assert all(mine.user in subject.split(".") for subject in subjects)
        (user,) = account["users"]
        assert user["permissions"]["subscribe"]["allow"] == [f"_INBOX_{mine.user}.>"]
        assert not any("feed." in subject for subject in user["permissions"]["publish"]["allow"])
    resets = [entry["service"] for entry in made["CASEFLOW"]["exports"] if ".RESET." in entry.get("service", "")]
    assert resets == ["$JS.API.CONSUMER.RESET.FEED.subscriber-audit"]


def test_a_subscriber_reads_its_kinds_levels_and_regions() -> None:
    assert CITY.subjects == (
        "feed.overdue.3.51.01.>",
        "feed.overdue.4.51.01.>",
        "feed.escalated.3.51.01.>",
        "feed.escalated.4.51.01.>",
    )
    assert AUDIT.subjects == ("feed.*.*.51.>",)


@pytest.mark.parametrize(
    ("regions", "more", "wrong"),
    [
        ((), {}, "at least 1 item"),
        (("5101",), {}, "should match pattern"),
        (("510100000000", "510104000000"), {}, "overlap"),
        (("510100000000",), {"kinds": ["overdue", "secrets"]}, "Input should be 'left'"),
        (("510100000000",), {"levels": [6]}, "less than or equal to 5"),
    ],
)
def test_what_no_subscriber_can_be(regions: tuple[str, ...], more: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        Subscriber("x", regions, **more)
    with pytest.raises(ValueError, match="should match pattern"):
        Subscriber("x.>", ("510100000000",))


def test_partners_are_read_from_the_data_folder(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    assert load_partners(settings) is None
    assert load_partners(settings.model_copy(update={"demo": True})) == DEMO_PARTNERS
    text = """
platforms:
  - {source: hotline, areas: ["5101"]}
subscribers:
  - {name: city, regions: ["510100000000"], kinds: [overdue, escalated], levels: [3, 4]}
"""
    (tmp_path / "partners.yaml").write_text(text)
    assert load_partners(settings) == Partners((Platform("hotline", ("5101",)),), (CITY,))
    (tmp_path / "partners.yaml").write_text(text + "  - {name: city, regions: ['510700000000']}\n")
    with pytest.raises(BadSettings, match=r"yaml cannot be used: subscribers: .*subscriber-city is declared twice"):
        load_partners(settings)
    with pytest.raises(BadSettings, match="cannot be read"):
        load_partners(settings.model_copy(update={"partners": tmp_path / "absent.yaml"}))


def test_only_the_admin_is_unbound() -> None:
    users = accounts(PASSWORDS, Partners(), 1)["CASEFLOW"]["users"]
    assert [user["user"] for user in users if "permissions" not in user] == [ADMIN]
    for user in users[1:]:
        allowed = user["permissions"]["publish"]["allow"]
        assert not {">", "$JS.>", "$JS.API.>", "$JS.API.STREAM.>"} & set(allowed)


def test_a_user_without_a_password_is_an_error() -> None:
    with pytest.raises(KeyError, match="platform-other"):
        accounts({user: word for user, word in PASSWORDS.items() if user != OTHER.user}, Partners((OTHER,)), 1)


def test_the_server_syncs_every_append_encrypts_and_listens_here_only() -> None:
    text = server_config(
        port=-1, store=Path("/数据"), store_bytes_max=9, key="k", run=Path("/r"), log=Path("/l"), passwords=PASSWORDS,
        partners=PARTNERS,
    )  # fmt: skip
    assert "/数据" in text, "the server does not read escapes"
    made = json.loads(text)
    assert made["host"] == "127.0.0.1"
    assert made["jetstream"] == {
        "store_dir": "/数据", "max_file_store": 9, "sync_interval": "always", "cipher": "aes", "key": "k",
    }  # fmt: skip
    assert made["accounts"]["CASEFLOW"]["jetstream"] == {"max_file": 9}
