"""The NATS configuration as a pure function."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.servers.nats_config import ADMIN, Platform, accounts, server_config, tokens
from infra.servers.services import OWNERS

DEMO, OTHER = Platform("demo", ("5101", "5107")), Platform("other", ("44",))
PASSWORDS = {user: f"secret of {user}" for user in (ADMIN, *map(str, OWNERS), DEMO.user, OTHER.user)}


@pytest.mark.parametrize(("area", "subject"), [("51", "51"), ("5101", "51.01"), ("510104", "51.01.04")])
def test_an_area_as_subject(area: str, subject: str) -> None:
    assert tokens(area) == subject


@pytest.mark.parametrize("area", ["", "5", "510", "51>1", "51010400", "*"])
def test_what_is_no_area(area: str) -> None:
    with pytest.raises(ValueError, match=r"not an area: .*first 2, 4 or 6 digits"):
        tokens(area)


def test_platforms_live_apart_and_name_only_themselves() -> None:
    """Each in an account of its own, and nothing it may ask or hear bears another's name."""
    made = accounts(PASSWORDS, [DEMO, OTHER])
    assert set(made) == {"CASEFLOW", "PLATFORM_demo", "PLATFORM_other"}
    for mine, theirs in ((DEMO, OTHER), (OTHER, DEMO)):
        text = json.dumps(made[f"PLATFORM_{mine.source}"])
        assert theirs.source not in text
        assert "submit." + mine.source in text
    exports = made["CASEFLOW"]["exports"]
    assert {"service": "submit.demo.51.07.>", "accounts": ["PLATFORM_demo"]} in exports
    assert all(len(export["accounts"]) == 1 for export in exports)


def test_only_the_admin_is_unbound() -> None:
    users = accounts(PASSWORDS, [])["CASEFLOW"]["users"]
    assert [user["user"] for user in users if "permissions" not in user] == [ADMIN]
    for user in users[1:]:
        allowed = user["permissions"]["publish"]["allow"]
        assert not {">", "$JS.>", "$JS.API.>", "$JS.API.STREAM.>"} & set(allowed)


def test_a_user_without_a_password_is_an_error() -> None:
    with pytest.raises(KeyError, match="platform-other"):
        accounts({user: word for user, word in PASSWORDS.items() if user != OTHER.user}, [OTHER])


def test_the_server_syncs_every_append_encrypts_and_listens_here_only() -> None:
    text = server_config(
        port=-1, store=Path("/s"), key="k", run=Path("/r"), log=Path("/l"), passwords=PASSWORDS, platforms=[DEMO]
    )
    made = json.loads(text)
    assert made["host"] == "127.0.0.1"
    assert made["jetstream"] == {"store_dir": "/s", "sync_interval": "always", "cipher": "aes", "key": "k"}
