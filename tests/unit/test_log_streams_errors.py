"""Errors of the NATS client that mean no answer."""

from __future__ import annotations

import pytest
from nats.errors import NoServersError

from shared.log.streams import is_unanswered


@pytest.mark.parametrize(
    ("error", "unanswered"),
    [
        (NoServersError(), True),
        (TimeoutError(), True),
        (ConnectionResetError(), True),
        (RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed"), True),
        (RuntimeError("a mistake of ours"), False),
        (ValueError(), False),
    ],
)
def test_a_link_that_is_gone_is_no_answer(error: Exception, unanswered: bool) -> None:
    assert is_unanswered(error) is unanswered
