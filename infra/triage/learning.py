"""Points for the words of weighted rules, learned from past cases with known fields.

A rule's score is taken as the logarithm of its odds, and the points are fitted so that the right rule leads: a softmax
over the rules by stochastic gradient, held to the points that were written by hand. New words are character sequences
that hold together as words do (their parts meet more often than by chance, their neighbours vary) and lean to a field.
No words are segmented, so that no dictionary is needed. The same input gives the same points.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from shared.reference.scoring import POINTS_MAX, TITLE_TIMES, WordMatcher, comparable

PASSES = 10
POINTS_PER_LOGIT = 12.0  # a lead of this many points is taken as odds of e
STEP_POINTS = 1.5
HOLD = 0.1  # pull back towards the points that were written by hand, per case
NEW_WORDS_PER_RULE_MAX = 20
POINTS_MIN = 3  # weaker words are not added
WORD_LENGTHS = (2, 3, 4)
WORD_CASES_MIN = 8
LEANING_MIN = 0.5  # of the cases with a new word, the share of one field
COHESION_MIN = 6.0  # times by which the parts of a word meet more often than by chance
NEIGHBOURS_MIN = 1.2  # entropy of the characters before and after, in nats
TEXT_CHARS_READ_MAX = 300
_RUN = re.compile(r"[\u4e00-\u9fff]+")

Tables = Mapping[str, Sequence[tuple[str, int]]]


@dataclass(frozen=True)
class KnownCase:
    """A past case: its words, and the rules that are right for it."""

    title: str
    text: str
    rules: frozenset[str]


def learn_points(
    cases: Sequence[KnownCase],
    written: Tables,
    progress: Callable[[int, int], None] = lambda *_: None,
    leave_out: Collection[str] = (),
) -> dict[str, list[tuple[str, int]]]:
    """The words and points of each rule, from those written by hand and the cases.

    `progress` hears the passes done and all passes. Words that contain one of `leave_out` are not learned.
    """
    rules = sorted(written)
    at = {rule: index for index, rule in enumerate(rules)}
    prior: dict[str, list[float]] = defaultdict(lambda: [0.0] * len(rules))
    for rule, table in written.items():
        for word, points in table:
            prior[word][at[rule]] = float(points)
    leaning = _leaning_words(cases)
    for word in leaning:
        if not any(name in word for name in leave_out):
            prior[word]
    matcher = WordMatcher({"*": [(word, 1) for word in prior]})
    examples = []
    for case in cases:
        right = [at[rule] for rule in sorted(case.rules) if rule in at]
        words = [(hit.word, float(hit.times)) for hit in matcher.points(case.title, case.text).get("*", ())]
        if right and words:
            examples.append((words, right))
    fitted = _fit(examples, prior, len(rules), progress)
    return {rule: _chosen(rule, at[rule], fitted, written, leaning) for rule in rules}


_Example = tuple[list[tuple[str, float]], list[int]]


def _fit(
    examples: Sequence[_Example], prior: Mapping[str, list[float]], rules: int, progress: Callable[[int, int], None]
) -> dict[str, list[float]]:
    points = {word: list(values) for word, values in prior.items()}
    squares = {word: [1.0] * rules for word in prior}
    order = list(range(len(examples)))
    chance = random.Random(1)
    for done in range(PASSES):
        chance.shuffle(order)
        for index in order:
            words, right = examples[index]
            scores = [0.0] * rules
            for word, times in words:
                for rule, value in enumerate(points[word]):
                    scores[rule] += value * times
            best = max(right, key=lambda rule: scores[rule])
            for rule in right:
                if rule != best:
                    scores[rule] = -math.inf  # a rule of the same field is no rival
            top = max(scores)
            weights = [math.exp((score - top) / POINTS_PER_LOGIT) for score in scores]
            total = sum(weights)
            moved = [(rule, (rule == best) - weight / total) for rule, weight in enumerate(weights)]
            moved = [(rule, error) for rule, error in moved if abs(error) > 0.005]
            for word, times in words:
                row, square, written = points[word], squares[word], prior[word]
                for rule, error in moved:
                    gradient = error * times / TITLE_TIMES - HOLD * (row[rule] - written[rule]) / POINTS_PER_LOGIT
                    square[rule] += gradient * gradient
                    row[rule] += STEP_POINTS * gradient / math.sqrt(square[rule])
        progress(done + 1, PASSES)
    return points


def _chosen(
    rule: str, index: int, points: Mapping[str, list[float]], written: Tables, leaning: Mapping[str, frozenset[str]]
) -> list[tuple[str, int]]:
    """The words of a rule: those written by hand, and the others that say most for it or against it."""
    own = {word for word, _ in written[rule]}
    fitted = {word: max(-POINTS_MAX, min(POINTS_MAX, round(values[index]))) for word, values in points.items()}
    chosen = {word: fitted[word] for word in own if fitted[word]}
    others = [
        (word, value)
        for word, value in fitted.items()
        if word not in own and abs(value) >= POINTS_MIN and (value < 0 or rule in leaning.get(word, ()))
    ]
    others.sort(key=lambda item: (-abs(item[1]), item[0]))
    chosen.update(others[:NEW_WORDS_PER_RULE_MAX])
    return sorted(chosen.items(), key=lambda item: (-item[1], item[0]))


def _leaning_words(cases: Sequence[KnownCase]) -> dict[str, frozenset[str]]:
    """Sequences of characters that hold together as words do and lean to a field, each with the rules of that field."""
    count: Counter[str] = Counter()
    in_cases: Counter[str] = Counter()
    rules_of: dict[str, Counter[str]] = defaultdict(Counter)
    before: dict[str, Counter[str]] = defaultdict(Counter)
    after: dict[str, Counter[str]] = defaultdict(Counter)
    characters = 0
    for case in cases:
        seen = set[str]()
        for run in _RUN.findall(comparable(f"{case.title}\n{case.text[:TEXT_CHARS_READ_MAX]}")):
            characters += len(run)
            for word, left, right in _sequences(run):
                count[word] += 1
                seen.add(word)
                before[word][left] += 1
                after[word][right] += 1
        in_cases.update(seen)
        for word in seen:
            rules_of[word].update(case.rules)
    words: dict[str, frozenset[str]] = {}
    for word, cases_with in in_cases.items():
        if len(word) > 1 and cases_with >= WORD_CASES_MIN:
            parts = max(count[word[:cut]] * count[word[cut:]] for cut in range(1, len(word)))
            if (
                count[word] * characters / parts >= COHESION_MIN
                and min(_entropy(before[word]), _entropy(after[word])) >= NEIGHBOURS_MIN
            ):
                leaning = {rule for rule, with_it in rules_of[word].items() if with_it >= LEANING_MIN * cases_with}
                if leaning:
                    words[word] = frozenset(leaning)
    return dict(sorted(words.items()))


def _sequences(run: str) -> Iterator[tuple[str, str, str]]:
    for length in (1, *WORD_LENGTHS):
        for start in range(len(run) - length + 1):
            end = start + length
            yield run[start:end], run[start - 1 : start], run[end : end + 1]


def _entropy(neighbours: Counter[str]) -> float:
    total = sum(neighbours.values())
    return -sum(count / total * math.log(count / total) for count in neighbours.values())
