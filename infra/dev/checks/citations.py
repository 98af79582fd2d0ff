"""Every document that is cited exists, and nothing cites a text outside of the repository.

A citation is a path in backticks, a path below docs/ anywhere, or a link of a Markdown page. A path may leave out its
first folders, as `kit/clock.py`. Clauses of standards and articles of laws are no citations of documents.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from posixpath import normpath

from infra.dev.checks.base import Breach, line_of

_ENDINGS = "py|sql|yaml|toml|sh|md|in|lock|css|html|js|json|csv|txt"
# This rule and its tests hold the words that it looks for.
EXEMPT = ("infra/dev/checks/citations.py", "tests/architecture/test_house_rules.py")
_IN_BACKTICKS = re.compile(rf"`([\w.<>*-]+(?:/[\w.<>*-]+)+(?:\.(?:{_ENDINGS})|/)?)`")
_IN_DOCS = re.compile(rf"(docs/(?<![\w/.`-]docs/)[\w./-]+\.(?:{_ENDINGS}))")
_LINK = re.compile(r"\]\(([^)\s#]+)(?:#[\w-]*)?\)")
_OUTSIDE = re.compile(
    r"\b(?:(?:design|house|facts|domain|models|pages|speed)\.md\b|(?:in|of|by|from) the design\b|domain [0-9]"
    r"|sections? [0-9][\w.]* of the domain\b|spec/|issue #?[0-9]+\b)|\(design\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Checkout:
    """The files and folders of a checkout by their path from the root."""

    paths: frozenset[str]

    @classmethod
    def read(cls, root: Path, folders: Iterable[str]) -> Checkout:
        """These folders, everything below them, and whatever lies at the root."""
        there = [*(path for folder in folders for path in (root / folder).rglob("*")), *root.iterdir()]
        return cls(frozenset(path.relative_to(root).as_posix() for path in there))

    @cached_property
    def folders(self) -> frozenset[str]:
        """The names of all folders."""
        return frozenset(part for path in self.paths for part in path.split("/")[:-1])

    @cached_property
    def endings(self) -> frozenset[str]:
        """Every path, and what is left of it without its first folders."""
        parts = (path.split("/") for path in self.paths)
        return frozenset("/".join(names[start:]) for names in parts for start in range(len(names)))

    def has(self, cited: str) -> bool:
        """Whether a path, or the end of one, exists. `<name>` and `*` stand for a part of a name."""
        if not re.search(r"[<*]", cited):
            return cited.rstrip("/") in self.endings
        parts = re.split(r"<[\w ]+>|\*", cited.rstrip("/"))
        pattern = re.compile(r"(?:.*/)?" + "[^/]*".join(map(re.escape, parts)))
        return any(pattern.fullmatch(path) for path in self.paths)

    def leads_to(self, link: str, source: str) -> bool:
        """Whether a relative link of the page `source` leads to a file or folder."""
        return normpath(f"{PurePosixPath(source).parent}/{link}") in self.paths


def check_citations(texts: Mapping[str, str], checkout: Checkout) -> Iterator[Breach]:
    """The breaches in texts by their path."""
    for source, text in texts.items():
        if source in EXEMPT:
            continue
        for match in _lost(text, source, checkout):
            message = f"{match[1]} does not exist: name the file that says it now"
            yield Breach(source, line_of(match), message)
        for match in _OUTSIDE.finditer(text):
            message = f"{match[0]!r} cites what a reader may not have: cite a page of ours, a clause or an article"
            yield Breach(source, line_of(match), message)


def _lost(text: str, source: str, checkout: Checkout) -> Iterator[re.Match[str]]:
    """The paths and links of a text that lead nowhere. A path whose first part is no folder of ours is none of ours."""
    for match in _IN_BACKTICKS.finditer(text):
        if match[1].partition("/")[0] in checkout.folders and not checkout.has(match[1]):
            yield match
    yield from (match for match in _IN_DOCS.finditer(text) if not checkout.has(match[1]))
    for match in _LINK.finditer(text) if source.endswith(".md") else ():
        if "://" not in match[1] and not checkout.leads_to(match[1], source):
            yield match
