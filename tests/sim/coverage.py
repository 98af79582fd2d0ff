"""The transitions, failpoints and kinds of fault that many worlds reached together, out of all that exist."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from shared.case.lifecycle import TRANSITIONS
from shared.case.orders import ORDER_TRANSITIONS
from shared.kit.failpoints import CATALOGUE
from tests.sim.faults import KINDS, UNREACHED
from tests.sim.world import Outcome

ALL_TRANSITIONS = {
    f"{status} {row.key}" for table in (TRANSITIONS, ORDER_TRANSITIONS) for (status, *_), row in table.items()
}


@dataclass
class Coverage:
    """The sum of outcomes. `failed` holds the violations by seed."""

    worlds: int = 0
    events: int = 0
    cases_min: int = 1 << 30
    steps_min: int = 1 << 30
    transitions: Counter[str] = field(default_factory=Counter)
    failpoints: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    failed: dict[int, list[str]] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        """Add the outcome of a world."""
        self.worlds += 1
        self.events += outcome.events
        if outcome.violations:
            self.failed[outcome.seed] = [str(violation) for violation in outcome.violations]
            return
        self.cases_min, self.steps_min = min(self.cases_min, outcome.cases), min(self.steps_min, outcome.steps)
        self.transitions.update(f"{status} {event}" for status, event in outcome.transitions)
        self.failpoints.update(outcome.failpoints)
        self.faults.update(outcome.faults)
        self.answers.update(outcome.answers)

    def parts(self) -> dict[str, tuple[Iterable[str], set[str]]]:
        """The reached and the existing members of each part, by its name."""
        return {
            "transitions": (self.transitions, ALL_TRANSITIONS),
            "failpoints": (self.failpoints, set(CATALOGUE) - set(UNREACHED)),
            "fault kinds": (self.faults, set(KINDS)),
        }

    def shares(self) -> dict[str, float]:
        """The reached share of each part, 0 to 1."""
        return {name: len(there & set(reached)) / len(there) for name, (reached, there) in self.parts().items()}

    def as_json(self) -> dict[str, Any]:
        """All counts, for a JSON file."""
        missing = {name: sorted(there - set(reached)) for name, (reached, there) in self.parts().items()}
        return {
            "worlds": self.worlds,
            "events": self.events,
            "cases_min": self.cases_min,
            "steps_min": self.steps_min,
            "shares": self.shares(),
            "missing": missing,
            "cannot_occur": UNREACHED,
            "transitions": dict(sorted(self.transitions.items())),
            "failpoints": dict(sorted(self.failpoints.items())),
            "faults": dict(sorted(self.faults.items())),
            "answers": dict(self.answers.most_common()),
            "failed": self.failed,
        }
