"""Sorting with bounded memory: sorted runs on disk, merged as they are read."""

from __future__ import annotations

import heapq
import pickle
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from tempfile import TemporaryFile
from typing import IO, Any, TypeVar

ITEMS_IN_MEMORY_COUNT = 50_000  # items in memory at once

T = TypeVar("T")


def sorted_on_disk(items: Iterable[T], key: Callable[[T], Any], run_count: int = ITEMS_IN_MEMORY_COUNT) -> Generator[T]:
    """The items sorted by key, those of equal keys in their given order. No files remain."""
    source = iter(items)
    with ExitStack() as stack:
        runs: list[IO[bytes]] = []
        while True:
            run = sorted(islice(source, run_count), key=key)
            if len(run) < run_count:
                break
            runs.append(stack.enter_context(TemporaryFile()))
            for item in run:
                pickle.dump(item, runs[-1], pickle.HIGHEST_PROTOCOL)
            runs[-1].seek(0)
        yield from heapq.merge(*map(_items, runs), run, key=key)


def _items(run: IO[bytes]) -> Iterator[Any]:
    """The items of a run, which is a file of this process only."""
    while True:
        try:
            yield pickle.load(run)
        except EOFError:
            return
