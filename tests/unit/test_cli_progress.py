"""The progress of a long command: what an earlier run did counts in the total, never in the rate or the time left."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from infra.cli import base


class Seconds:
    """A clock that goes on by the given moments."""

    def __init__(self, moments: Iterator[float]) -> None:
        self._moments = moments

    def monotonic(self) -> float:
        return next(self._moments)


@pytest.mark.parametrize(
    ("done_before", "line"),
    [
        (0, "rows: 600 of 1000 , 67 s left"),  # 600 in 100 s
        (500, "rows: 600 of 1000 , 400 s left"),  # 100 in 100 s
    ],
)
def test_the_time_left_follows_from_the_work_of_this_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], done_before: int, line: str
) -> None:
    monkeypatch.setattr(base, "SystemClock", lambda: Seconds(iter([0.0, 100.0])))
    with base.progress_bar("rows", 1000, done_before) as show_progress:
        show_progress(600, "")
    assert line in capsys.readouterr().err
