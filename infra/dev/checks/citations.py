"""Every document that is cited exists, and nothing cites a text outside of the repository.

A citation is a path in backticks, a path below docs/ anywhere, or a link of a Markdown page. A path may leave out its
first folders, as `kit/clock.py`. Clauses of standards and articles of laws are no citations of documents.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from posixpath import normpath

from infra.dev.checks.base import Breach, Module

FOLDERS = ("shared", "services", "infra", "tests", "docs")
SUFFIXES = (".py", ".sql", ".yaml", ".toml", ".sh", ".md", ".in", ".css", ".html", ".js")
_ENDINGS = "py|sql|yaml|toml|sh|md|in|lock|css|html|js|json|csv|txt"
# This rule and its tests hold the words that it looks for.
EXEMPT = ("infra/dev/checks/citations.py", "tests/architecture/test_house_rules.py")
_IN_BACKTICKS = re.compile(rf"`([\w.<>*-]+(?:/[\w.<>*-]+)+(?:\.(?:{_ENDINGS})|/)?)`")
_IN_DOCS = re.compile(rf"(?<![\w/.`-])(docs/[\w./-]+\.(?:{_ENDINGS}))")
_LINK = re.compile(r"\]\(([^)\s#]+)(?:#[\w-]*)?\)")
_TEXT = "a text outside of the repository"
_OUTSIDE = (
    (re.compile(r"\b(?:design|house|facts|domain|models|pages|speed)\.md\b"), _TEXT),
    (re.compile(r"\b(?:in|of|by|from) the design\b|\(design\b", re.IGNORECASE), _TEXT),
    (re.compile(r"\bdomain [0-9]|\bsections? [0-9][\w.]* of the domain\b", re.IGNORECASE), _TEXT),
    (re.compile(r"\bspec/"), _TEXT),
    (re.compile(r"\bissue #?[0-9]+\b", re.IGNORECASE), "an issue, which a reader may not have"),
)


@dataclass(frozen=True)
class Checkout:
    """The files and folders of a checkout by their path from the root."""

    paths: frozenset[str]

    @classmethod
    def read(cls, root: Path) -> Checkout:
        """Everything below FOLDERS, and the files at the root."""
        below = [path for folder in FOLDERS for path in (root / folder).rglob("*")]
        there = [*below, *(root / folder for folder in FOLDERS), *(path for path in root.iterdir() if path.is_file())]
        return cls(frozenset(path.relative_to(root).as_posix() for path in there))

    @cached_property
    def folders(self) -> frozenset[str]:
        """The names of all folders."""
        return frozenset(part for path in self.paths for part in path.split("/")[:-1])

    def has(self, cited: str) -> bool:
        """Whether a path, or the end of one, exists. `<name>` and `*` stand for a part of a name."""
        parts = re.split(r"<[\w ]+>|\*", cited.rstrip("/"))
        pattern = re.compile(r"(?:.*/)?" + "[^/]*".join(map(re.escape, parts)))
        return cited in self.paths or any(pattern.fullmatch(path) for path in self.paths)

    def leads_to(self, link: str, source: str) -> bool:
        """Whether a relative link of the page `source` leads to a file or folder."""
        return normpath(f"{PurePosixPath(source).parent}/{link}") in self.paths


def check_citations(texts: Mapping[str, str], checkout: Checkout) -> Iterator[Breach]:
    """The breaches in texts by their path."""
    for source, text in texts.items():
        if source in EXEMPT:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            for cited in _lost(line, source, checkout):
                yield Breach(source, number, f"{cited} does not exist: name the file that says it now")
            for pattern, outside in _OUTSIDE:
                if match := pattern.search(line):
                    advice = "cite a page of ours, a clause or an article"
                    yield Breach(source, number, f"{match[0]!r} cites {outside}: {advice}")


def _lost(line: str, source: str, checkout: Checkout) -> Iterator[str]:
    """The paths and links of a line that lead nowhere. A path whose first part is no folder of ours is none of ours."""
    paths = [path for path in _IN_BACKTICKS.findall(line) if path.partition("/")[0] in checkout.folders]
    yield from (path for path in (*paths, *_IN_DOCS.findall(line)) if not checkout.has(path))
    links = _LINK.findall(line) if source.endswith(".md") else []
    yield from (link for link in links if "://" not in link and not checkout.leads_to(link, source))


def check(root: Path, modules: Sequence[Module]) -> Iterator[Breach]:
    """The breaches of the checkout at `root`."""
    files = [path for folder in FOLDERS for path in (root / folder).rglob("*")]
    files += root.iterdir()
    texts = {
        path.relative_to(root).as_posix(): path.read_text("utf-8")
        for path in sorted(files)
        if path.is_file() and (path.suffix in SUFFIXES or path.name == "Makefile")
    }
    return check_citations(texts, Checkout.read(root))
