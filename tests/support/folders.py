"""Folders for servers of a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def open_folder(name: str) -> Iterator[Path]:
    """A temporary folder that Postgres may enter, whoever it runs as; removed at the end with what is in it.

    Not one of pytest's: each start of pytest closes those of all runs to other users, and removes older ones.
    """
    with TemporaryDirectory(prefix=f"caseflow-{name}-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)
