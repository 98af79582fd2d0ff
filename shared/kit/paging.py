"""Pages of lists, alike in every service: `cursor` and `limit` come in, `next` goes out.

A cursor is opaque. It names its list and the position behind which the page begins, and carries a digest of both, so
that one that was changed, or comes from another list or an older program, is refused. It opens nothing: each page shows
what its caller may see now.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, validate_call

from shared.kit.problems import BadRequest, Unprocessable
from shared.kit.settings import Settings

PAGE_ROWS = 50
CURSOR_CHARS_MAX = 400
_DIGEST_BYTES = 6
T = TypeVar("T")

CursorText = Annotated[
    str, Field(max_length=CURSOR_CHARS_MAX, description="`next` of the page before; without it the first page")
]
After = Annotated[
    str, Field(max_length=80, description="A position that a command answered with: wait until the list has seen it")
]


class Page(BaseModel):
    """The parameters of every list."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cursor: CursorText | None = None
    limit: Annotated[int, Field(ge=1, description="Rows per page; at most 200 unless the operator sets another")] = (
        PAGE_ROWS
    )


def write_cursor(list_name: str, *position: str | int) -> str:
    """The cursor of the page behind a position of a list."""
    payload = json.dumps([list_name, *position], separators=(",", ":")).encode()
    return urlsafe_b64encode(_digest(payload) + payload).rstrip(b"=").decode()


def read_cursor(list_name: str, text: str, parse: Callable[..., T]) -> T:
    """The position of a cursor that `write_cursor` wrote for this list, as `parse` makes it. Raises BadRequest.

    The parts of the position have exactly the types that `parse` states: anybody can write a cursor, digest and all.
    """
    try:
        token = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        digest, payload = token[:_DIGEST_BYTES], token[_DIGEST_BYTES:]
        parts = json.loads(payload)
        if digest != _digest(payload) or not isinstance(parts, list) or parts[:1] != [list_name]:
            raise ValueError
        position: T = _strict(parse)(*parts[1:])
        return position
    except (ValueError, OverflowError, RecursionError):
        raise BadRequest(
            "`cursor` is not one that this list gave out.", code="cursor.malformed",
            advice="Take it from `next` of the page before, or leave it out and begin with the first page.",
        ) from None  # fmt: skip


@cache
def _strict(parse: Callable[..., T]) -> Callable[..., T]:
    return validate_call(config=ConfigDict(strict=True))(parse)


def _digest(payload: bytes) -> bytes:
    return sha256(payload).digest()[:_DIGEST_BYTES]


def page_rows(settings: Settings, limit: int) -> int:
    """The rows of a page. Raises Unprocessable where the limit is above that of the operator."""
    if limit > settings.page_rows_max:
        raise Unprocessable(
            f"`limit` is at most {settings.page_rows_max} here; follow `next` for more.", code="limit.too_large"
        )
    return limit
