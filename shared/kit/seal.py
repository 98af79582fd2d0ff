"""Seals private content before it reaches the log, and opens it for callers who may read it.

AES-256-GCM with the key of the case. A token is `seal1.<nonce>.<ciphertext and tag>`, base64url without padding; the
prefix names the cipher. Associated data are case id, event id and field, so that a token moved to another event or
field does not open. Nonces are 96 random bits. A case key seals thousands of fields at most, far below the
bound of 2^32.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from shared.case.base import SEAL_PREFIX, Event

if TYPE_CHECKING:  # opening a seal is pure; only making one takes chance from a clock
    from shared.kit.clock import Clock

NONCE_BYTES = 12
KEY_BYTES = 32
_MARK = SEAL_PREFIX.encode()

E = TypeVar("E", bound=Event)


class SealBroken(Exception):
    """A seal does not open: wrong key, wrong event or field, or altered. Names case and event, never content."""

    def __init__(self, case_id: str, event_id: str, field: str, why: str) -> None:
        super().__init__(f"the seal of {field} in event {event_id} of case {case_id} does not open: {why}")
        self.case_id, self.event_id, self.field = case_id, event_id, field


class AlreadySealed(ValueError):
    """A caller gave a token in place of the content; sealing it again would hide the content for ever."""


def seal_fields(event: E, key: bytes, case_id: str, event_id: str, clock: Clock) -> E:
    """`event` with every private field replaced by its token; None stays None.

    Raises AlreadySealed when a private field holds a token: tokens come from the log, never from a caller.
    """
    cipher = AESGCM(key)
    tokens: dict[str, str] = {}
    for field in type(event).PRIVATE:
        value = getattr(event, field)
        if value is None:
            continue
        if isinstance(value, str):
            raise AlreadySealed(f"{field} of {type(event).__name__} is sealed already: give the content itself")
        nonce = clock.token_bytes(NONCE_BYTES)
        sealed = cipher.encrypt(nonce, to_json(value), _associated(case_id, event_id, field))
        tokens[field] = f"{SEAL_PREFIX}{_text(nonce)}.{_text(sealed)}"
    return event.model_copy(update=tokens)


def unseal_fields(event: E, key: bytes, case_id: str, event_id: str) -> E:
    """`event` with every token replaced by its content; a field that is open already stays.

    Raises SealBroken when a token does not open with this key, event and field.
    """
    cipher = AESGCM(key)
    opened: dict[str, Any] = {}
    for field in type(event).PRIVATE:
        token = getattr(event, field)
        if not isinstance(token, str):
            continue
        try:
            nonce, sealed = (_bytes(part) for part in token.removeprefix(SEAL_PREFIX).split("."))
            plain = cipher.decrypt(nonce, sealed, _associated(case_id, event_id, field))
            opened[field] = _adapter(type(event), field).validate_json(plain, extra="ignore")
        except InvalidTag:
            raise SealBroken(case_id, event_id, field, "wrong key, wrong event or field, or altered") from None
        except ValidationError:  # its text would show the content
            raise SealBroken(case_id, event_id, field, "the content does not fit the type of the field") from None
        except ValueError:
            raise SealBroken(case_id, event_id, field, "it is not a token of seal1") from None
    return event.model_copy(update=opened)


def seal_bytes(data: bytes, key: bytes, case_id: str, event_id: str, name: str, clock: Clock) -> bytes:
    """An attachment sealed for the object store; `name` stands for the field name."""
    nonce = clock.token_bytes(NONCE_BYTES)
    return _MARK + nonce + AESGCM(key).encrypt(nonce, data, _associated(case_id, event_id, name))


def unseal_bytes(sealed: bytes, key: bytes, case_id: str, event_id: str, name: str) -> bytes:
    """The content of an attachment sealed by `seal_bytes`. Raises SealBroken."""
    head = len(_MARK) + NONCE_BYTES
    if not sealed.startswith(_MARK) or len(sealed) < head:
        raise SealBroken(case_id, event_id, name, "it is not an object of seal1")
    try:
        associated = _associated(case_id, event_id, name)
        return AESGCM(key).decrypt(sealed[len(_MARK) : head], sealed[head:], associated)
    except InvalidTag:
        raise SealBroken(case_id, event_id, name, "wrong key, wrong event or field, or altered") from None


def _associated(*parts: str) -> bytes:
    """Associated data: each part follows its length, so that no two lists of parts give the same bytes."""
    encoded = (part.encode() for part in parts)
    return _MARK + b"".join(len(part).to_bytes(4, "big") + part for part in encoded)


@cache
def _adapter(event: type[Event], field: str) -> TypeAdapter[Any]:
    annotation: Any = event.model_fields[field].annotation
    return TypeAdapter(annotation)


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
