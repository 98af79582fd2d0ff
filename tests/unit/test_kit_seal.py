from __future__ import annotations

import pytest

from shared.case.base import Event, Frozen, Owner, Private, Sealed
from shared.kit.seal import AlreadySealed, SealBroken, seal_bytes, seal_fields, unseal_bytes, unseal_fields
from tests.support.clock import FakeClock

KEY, OTHER = bytes(range(32)), bytes(32)
PLACE = ("11111111-1111-4111-8111-111111111111", "22222222-2222-5222-8222-222222222222")


class Words(Frozen):
    title: str
    text: str = ""


class Told(Event, type="test.told", owner=Owner.INTAKE):
    """An event with every form a private field takes."""

    words: Private[Words]
    reply: Private[Words] | None = None
    count: int = 0


TOLD = Told(words=Words(title="大坝村噪声", text="每晚施工到两点"), count=3)


def sealed(told: Told = TOLD, seed: int = 0) -> Told:
    return seal_fields(told, KEY, *PLACE, FakeClock(seed=seed))


def test_a_round_trip_gives_the_models_back_and_leaves_facts_in_the_open() -> None:
    token = sealed()
    assert isinstance(token.words, str)
    assert token.words.startswith("seal1.")
    assert (token.count, token.reply) == (3, None)
    assert Told.model_validate_json(token.model_dump_json()) == token
    assert unseal_fields(token, KEY, *PLACE) == TOLD


def test_nothing_of_the_content_stands_in_the_token_and_no_two_are_alike() -> None:
    first, second = sealed(seed=1), sealed(seed=2)
    assert first.words != second.words
    assert "大坝" not in first.model_dump_json()


def test_opening_what_is_open_changes_nothing() -> None:
    assert unseal_fields(TOLD, KEY, *PLACE) == TOLD


@pytest.mark.parametrize(
    ("key", "case_id", "event_id"),
    [(OTHER, *PLACE), (KEY, PLACE[1], PLACE[1]), (KEY, PLACE[0], PLACE[0])],
)
def test_another_key_case_or_event_does_not_open(key: bytes, case_id: str, event_id: str) -> None:
    with pytest.raises(SealBroken) as broken:
        unseal_fields(sealed(), key, case_id, event_id)
    assert case_id in str(broken.value)
    assert event_id in str(broken.value)


def test_a_token_moved_to_another_field_does_not_open() -> None:
    token = sealed()
    with pytest.raises(SealBroken, match="the seal of reply"):
        unseal_fields(Told(words=TOLD.words, reply=token.words), KEY, *PLACE)


def test_places_that_read_alike_are_not_alike() -> None:
    token = seal_bytes(b"x", KEY, "ab", "c", "d", FakeClock())
    with pytest.raises(SealBroken):
        unseal_bytes(token, KEY, "a", "bc", "d")


@pytest.mark.parametrize("token", ["seal1.AAAA.AAAA", "seal1.A.A", "seal1.AAAAAAAAAAAAAAAA.AAAA"])
def test_a_forged_token_is_a_broken_seal(token: Sealed) -> None:
    with pytest.raises(SealBroken):
        unseal_fields(Told(words=token), KEY, *PLACE)


def test_a_token_from_a_caller_is_not_sealed_again() -> None:
    with pytest.raises(AlreadySealed, match="words of Told"):
        seal_fields(sealed(), KEY, *PLACE, FakeClock())


class Wider(Event, type="test.told", owner=Owner.INTAKE):
    """A later release: its content has one field more."""

    class WiderWords(Words):
        tone: str = ""

    words: Private[WiderWords]


def test_content_of_a_newer_release_opens_without_its_new_fields() -> None:
    newer = seal_fields(Wider(words=Wider.WiderWords(title="a", tone="sharp")), KEY, *PLACE, FakeClock())
    assert unseal_fields(Told(words=newer.words), KEY, *PLACE).words == Words(title="a")


def test_what_does_not_fit_the_field_never_shows_in_the_error() -> None:
    class Odd(Frozen):
        secret: str

    class Strange(Event, type="test.strange", owner=Owner.INTAKE):
        """Content of another shape under the same place."""

        words: Private[Odd]

    strange = seal_fields(Strange(words=Odd(secret="13800001111")), KEY, *PLACE, FakeClock())
    with pytest.raises(SealBroken) as broken:
        unseal_fields(Told(words=strange.words), KEY, *PLACE)
    assert "13800001111" not in f"{broken.value!r} {broken.value.__cause__}"


def test_attachments_seal_and_open_in_their_place_only() -> None:
    token = seal_bytes(b"photo" * 1000, KEY, *PLACE, "attachment.1", FakeClock())
    assert b"photo" not in token
    assert unseal_bytes(token, KEY, *PLACE, "attachment.1") == b"photo" * 1000
    for bad in (token[:-1], token[:20], b"photo", b"seal1."):
        with pytest.raises(SealBroken):
            unseal_bytes(bad, KEY, *PLACE, "attachment.1")
    with pytest.raises(SealBroken):
        unseal_bytes(token, KEY, *PLACE, "attachment.2")
