"""Errors of other layers as answers to whoever asked, over HTTP and over NATS alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from shared.kit import problems
from shared.kit.seal import AlreadySealed
from shared.log.port import EventTooLarge, LogFull, LogUnavailable, NoArea

FULL_ADVICE = (
    "Nothing is lost; send it again later. The operator makes room on the disk of NATS: see `caseflow doctor`."
)
TRANSLATIONS: Mapping[type[Exception], Callable[[Any], problems.ProblemError]] = {
    EventTooLarge: lambda _: problems.TooLarge("This is too long for one event; attach it as a file."),
    NoArea: lambda _: problems.Unprocessable("No area here holds the region.", code="region.no_area"),
    AlreadySealed: lambda _: problems.Unprocessable("Send the content itself, not a seal.", code="content.sealed"),
    LogFull: lambda error: problems.Unavailable(f"The log is full: {error}.", advice=FULL_ADVICE, retry_after_s=60),
    LogUnavailable: lambda _: problems.Unavailable("The log does not answer."),
}


def translated(error: Exception) -> problems.ProblemError | None:
    """The problem that an error of another layer is for its caller; None for any other error."""
    return next((make(error) for kind, make in TRANSLATIONS.items() if isinstance(error, kind)), None)
