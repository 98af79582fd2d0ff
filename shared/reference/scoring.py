"""The points that the words of a case give to weighted rules. Pure, and independent of the order of the rules.

A rule lists words with points. A word counts more in the title than in the text, and only so often in a long text.
Words and texts are compared in one form: NFKC (full width is half width) and lower case.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from operator import add
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

TITLE_TIMES = 3  # a word in the title counts as often as this many in the text
TEXT_TIMES_MAX = 2  # further repetitions in the text say nothing more
PHRASE_GAP_CHARS_MAX = 12
POINTS_MAX = 99
RULE_WORDS_MAX = 2_000
WORD_CHARS_MAX = 40
MATCHERS_CACHED_COUNT_MAX = 256
_GAP = "..."  # NFKC writes the sign `…` as three dots
_KEY_CHARS = 2
_SENTENCE_END = re.compile(r"[。!?;\n]")


def comparable(text: str) -> str:
    """The form in which words and texts are compared: NFKC, lower case."""
    return unicodedata.normalize("NFKC", text).lower()


def _table(value: Any) -> tuple[tuple[str, int], ...]:
    """The words with their points, from a mapping of points to words. Raises ValueError."""
    if isinstance(value, tuple) or not value:
        return tuple(value or ())
    if not isinstance(value, Mapping):
        raise ValueError("is no mapping; write the points with their words in braces, {9: [物业, 业委会], -4: [学校]}")
    points_of: dict[str, int] = {}
    for key, words in value.items():
        points = _points(key)
        if not isinstance(words, list | tuple):
            raise ValueError(f"the words of {key} points are no list; write them in brackets, {key}: [物业, 业委会]")
        for word in words:
            name = _word(word)
            if name in points_of:
                raise ValueError(f"{name!r} has points twice; keep one of the two")
            points_of[name] = points
    if len(points_of) > RULE_WORDS_MAX:
        raise ValueError(f"{len(points_of)} words; a rule has at most {RULE_WORDS_MAX}")
    return tuple(sorted(points_of.items(), key=lambda item: (-item[1], item[0])))


def _points(key: Any) -> int:
    try:
        points = int(key)
    except (TypeError, ValueError):
        points = 0
    if not 0 < abs(points) <= POINTS_MAX:
        raise ValueError(
            f"{key!r} is no number of points; write a whole number from -{POINTS_MAX} to {POINTS_MAX}, not 0"
        )
    return points


def _word(value: Any) -> str:
    parts = [part.strip() for part in comparable(str(value)).split(_GAP)]
    word = _GAP.join(parts)
    if not all(parts) or len(parts[0]) < _KEY_CHARS or len(word) > WORD_CHARS_MAX:
        raise ValueError(
            f"{str(value)[:60]!r} is no word; a word has {_KEY_CHARS} to {WORD_CHARS_MAX} characters, and a phrase is"
            f" written 拖欠…工资, with {_KEY_CHARS} or more before the gap"
        )
    return word


def by_points(table: Iterable[tuple[str, int]]) -> dict[str, list[str]]:
    """The words of a rule by their points, as they are written and stored."""
    groups: dict[str, list[str]] = {}
    for word, points in table:
        groups.setdefault(str(points), []).append(word)
    return groups


# The words of a rule with their points, highest first; written and stored as {points: [words]}.
Points = Annotated[
    tuple[tuple[str, int], ...],
    BeforeValidator(_table),
    WithJsonSchema(
        {
            "type": "object",
            "patternProperties": {"^-?[1-9][0-9]?$": {"type": "array", "items": {"type": "string", "minLength": 2}}},
            "additionalProperties": False,
            "description": "Words by their points, as {9: [物业], -4: [学校]}; a phrase is 拖欠…工资.",
        }
    ),
]


@dataclass(frozen=True, slots=True)
class WordPoints:
    """The points that one word gives to one rule: `points` each time, `times` in all; the title counts several."""

    word: str
    points: int
    times: int
    in_title: bool

    @property
    def total(self) -> int:
        return self.points * self.times

    def __str__(self) -> str:
        return f"{self.word} {self.points}×{self.times}{' (title)' if self.in_title else ''}"


class WordMatcher:
    """Finds the words of many rules in one pass over a text, overlapping ones too.

    Words are filed under their first two characters, so that a text costs one look-up per character however many
    words there are.
    """

    def __init__(self, tables: Mapping[str, Iterable[tuple[str, int]]]) -> None:
        self._rules_of: dict[str, list[tuple[str, int]]] = {}
        for rule, table in tables.items():
            for word, points in table:
                self._rules_of.setdefault(word, []).append((rule, points))
        self._by_start: dict[str, list[tuple[str, list[str]]]] = {}
        for word in self._rules_of:
            self._by_start.setdefault(word[:_KEY_CHARS], []).append((word, word.split(_GAP)))

    def points(self, title: str, text: str) -> dict[str, tuple[WordPoints, ...]]:
        """The words of each rule that stand in title or text, the weightiest first. Rules without any are left out."""
        in_title, in_text = self._counts(comparable(title)), self._counts(comparable(text))
        result: dict[str, list[WordPoints]] = {}
        for word in in_title | in_text:
            times = min(in_text.get(word, 0), TEXT_TIMES_MAX) + (TITLE_TIMES if word in in_title else 0)
            for rule, points in self._rules_of[word]:
                result.setdefault(rule, []).append(WordPoints(word, points, times, word in in_title))
        return {rule: tuple(sorted(hits, key=_weight)) for rule, hits in result.items()}

    def _counts(self, text: str) -> dict[str, int]:
        counts: dict[str, int] = {}
        for word in self._words(text):
            counts[word] = counts.get(word, 0) + 1
        return counts

    def _words(self, text: str) -> Iterator[str]:
        by_start = self._by_start
        starts = [at for at, start in enumerate(map(add, text, text[1:])) if start in by_start]
        phrases: dict[str, frozenset[int]] = {}
        for at in starts:
            for word, parts in by_start[text[at : at + _KEY_CHARS]]:
                if not text.startswith(parts[0], at):
                    continue
                if len(parts) > 1 and word not in phrases:
                    phrases[word] = _phrase_starts(parts, text)
                if len(parts) == 1 or at in phrases[word]:
                    yield word


def _weight(hit: WordPoints) -> tuple[int, str]:
    return -abs(hit.total), hit.word


def _phrase_starts(parts: list[str], text: str) -> frozenset[int]:
    """Where the parts of a phrase stand one behind the other, each gap inside a sentence; linear in the text.

    It goes from the last part to the first: of the starts behind a part the nearest has the smallest gap, so no other
    one has to be tried.
    """
    following = list(_occurrences(parts[-1], text))
    for part in reversed(parts[:-1]):
        starts, index = [], 0
        for at in _occurrences(part, text):
            end = at + len(part)
            while index < len(following) and following[index] < end:
                index += 1
            if index == len(following):
                break
            gap = following[index] - end
            if gap <= PHRASE_GAP_CHARS_MAX and not _SENTENCE_END.search(text, end, end + gap):
                starts.append(at)
        following = starts
    return frozenset(following)


def _occurrences(part: str, text: str) -> Iterator[int]:
    at = text.find(part)
    while at >= 0:
        yield at
        at = text.find(part, at + 1)


class _Rows:
    """The rows of a document, equal only to themselves: documents do not change, so a matcher is made once for each."""

    def __init__(self, rows: tuple[Any, ...]) -> None:
        self.rows = rows

    def __hash__(self) -> int:
        return id(self.rows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Rows) and other.rows is self.rows


@lru_cache(maxsize=MATCHERS_CACHED_COUNT_MAX)
def _matcher(rows: _Rows) -> WordMatcher:
    return WordMatcher({row.id: row.points for row in rows.rows if row.points})


def matcher_of(rows: tuple[Any, ...]) -> WordMatcher:
    """The matcher of the weighted rules among these rows of one document."""
    return _matcher(_Rows(rows))
