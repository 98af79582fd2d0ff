"""Subjects of commits: `area: imperative`, at most 72 characters.

The commits on top of the one that brought this rule are judged; earlier and parallel ones stay as they are. Without the
history (an archive, a shallow clone) nothing is judged.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from infra.dev.checks.base import Breach, Module

RULE = "infra/dev/checks/commits.py"
SUBJECT_CHARS_MAX = 72
_SUBJECT = re.compile(r"(?P<area>[a-z][a-z0-9_./, -]*): (?P<verb>[a-z]+)\b.*")
# A past form, a participle, a third person, or a word that begins a noun phrase.
_NO_IMPERATIVE = re.compile(r".*[^e]ed|.*ing|.*[^s]s|a|an|the|one|two|each|every|no|all|what|how|when|where|who|it|we")
# Verbs that end like one of the former.
_IMPERATIVES = ("bring", "embed", "shed", "string", "focus", "bias")


def check_subject(commit: str, subject: str) -> Iterator[Breach]:
    """The breaches of one subject line."""
    parts = _SUBJECT.fullmatch(subject)
    if parts is None:
        message = "write it as `area: imperative`, in small letters"
    elif parts["verb"] not in _IMPERATIVES and _NO_IMPERATIVE.fullmatch(parts["verb"]):
        message = f"say what the commit does in the imperative, not {parts['verb']!r}"
    elif len(subject) > SUBJECT_CHARS_MAX:
        message = f"{len(subject)} characters, at most {SUBJECT_CHARS_MAX}: the reason belongs in the body"
    else:
        return
    yield Breach(f"commit {commit}", 1, f"{subject!r}: {message}")


def check(root: Path, modules: Sequence[Module]) -> Iterator[Breach]:
    """The breaches in the history of the checkout at `root`, from the commit on that brought this rule."""
    first = _git(root, "log", "--diff-filter=A", "--format=%H", "--", RULE).split()
    return check_history(root, first[-1]) if first else iter(())


def check_history(root: Path, after: str) -> Iterator[Breach]:
    """The breaches in the commits that were made on top of `after`; merges are left out."""
    for line in _git(root, "log", "--no-merges", "--ancestry-path", "--format=%h %s", f"{after}..HEAD").splitlines():
        commit, _, subject = line.partition(" ")
        yield from check_subject(commit, subject)


def _git(root: Path, *words: str) -> str:
    """What git prints; nothing where there is no git, no repository or no such commit."""
    try:
        done = subprocess.run(("git", *words), cwd=root, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout if done.returncode == 0 else ""
