"""The figures that an operator needs are there on a running stack, and they move."""

from __future__ import annotations

import re

from tests.support.client import Desk
from tests.support.stack import until

REACTION_S_MAX = 20.0
MODELS = {
    "intake.reactions", "routing.reactions", "supervision.reactions",
    "reporting", "routing.work", "supervision.watched", "feed",
}  # fmt: skip
ALWAYS = (
    "caseflow_aggregate_cache_hits", "caseflow_aggregate_cache_misses", "caseflow_event_cache_hits",
    "caseflow_event_cache_misses", "caseflow_parked_messages", "caseflow_webhook_oldest_seconds",
)  # fmt: skip


def samples(desk: Desk) -> dict[str, float]:
    """The samples of the process: name with its labels -> value."""
    text = desk.get(None, "/supervision/metrics").text
    lines = (line.rpartition(" ") for line in text.splitlines() if line.startswith("caseflow_"))
    return {name: float(value) for name, _, value in lines}


def test_the_figures_of_an_operator_are_there_after_a_case(desk: Desk) -> None:
    desk.handled()
    figures = samples(desk)
    assert {re.sub(r"\{.*", "", name) for name in figures} >= set(ALWAYS)
    behind = {re.search(r'model="([^"]*)"', name)[1] for name in figures if name.startswith("caseflow_behind_events")}  # type: ignore[index]
    assert behind >= MODELS
    reactions = 'caseflow_reaction_seconds_count{reaction="supervision.keep_clocks"}'
    desk.handled()
    until(lambda: samples(desk).get(reactions, 0) > figures.get(reactions, 0), reactions, REACTION_S_MAX)


def test_a_listener_is_an_open_stream(desk: Desk) -> None:
    head = {"Authorization": "Bearer demo-cd-supervisor"}
    with desk.client.stream("GET", "/supervision/feed", headers=head):
        open_streams = {
            name: value for name, value in samples(desk).items() if name.startswith("caseflow_open_streams")
        }
        assert open_streams['caseflow_open_streams{type="supervision.feed"}'] >= 1
