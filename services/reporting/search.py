"""The search index: pairs of neighbouring characters, hashed to 16 bits with the key of the county. Pure.

The index finds candidates only. Every candidate is unsealed and compared with the query before it is shown.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b
from itertools import pairwise
from unicodedata import normalize

from shared.case.base import Level, region_at
from shared.case.facts import Matter

PAIRS_COUNT_MAX = 300_000  # hashes remembered per county; a pair of Chinese characters takes about 150 bytes
_SPACE = re.compile(r"\s+")


def county_of(region: str) -> str:
    """The region whose key the search index of a case is hashed with."""
    return region_at(region, Level.COUNTY)


def searched(matter: Matter) -> str:
    """The searched text of a case, normalised: full and half width, upper and lower case are the same."""
    return plain(f"{matter.title}\n{matter.text}\n{matter.address}")


def plain(text: str) -> str:
    """Text normalised for comparison: NFKC, case folded, single spaces."""
    return _SPACE.sub(" ", normalize("NFKC", text).casefold()).strip()


def terms(query: str) -> list[str]:
    """The words of a query, each of which must occur. Raises ValueError when none has two characters."""
    words = plain(query).split(" ")
    if all(len(word) < 2 for word in words):
        raise ValueError("a search needs a word of at least two characters")
    return words


class Pairs:
    """Hashes pairs of characters with the key of one county, and caches the hashes."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._known: dict[str, int] = {}

    def of(self, text: str) -> list[int]:
        """The hashes of the pairs in a normalised text, sorted, each once; pairs with a space are left out."""
        pairs = {first + second for first, second in pairwise(text)}
        known = self._known
        if len(known) > PAIRS_COUNT_MAX:
            known.clear()
        return sorted({known.get(pair) or self._hash(pair) for pair in pairs if " " not in pair})

    def _hash(self, pair: str) -> int:
        digest = blake2b(pair.encode("utf-8", "surrogatepass"), digest_size=2, key=self._key).digest()
        number = self._known[pair] = int.from_bytes(digest, "big", signed=True)
        return number


def contains_all(matter: Matter, words: Sequence[str]) -> bool:
    """Whether every word of a query occurs in the searched text of a case."""
    text = searched(matter)
    return all(word in text for word in words)


def hash_array(hashes: Sequence[int]) -> str:
    """Hashes as the text of a Postgres array, which costs a fraction of an array of numbers."""
    return f"{{{','.join(map(str, hashes))}}}"
