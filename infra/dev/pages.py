"""The generated pages of docs/ (`make generate`): the domain half of the glossary, decisions, and metrics.

Terms and their Chinese stand in `glossary.yaml` beside this file. The meaning of events and the sources of their
transitions are taken from the catalogue, the values of the word lists from shared/case.
"""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from typing import Any

import yaml

from infra.dev import CHECKOUT
from infra.servers.services import SERVICES  # noqa: F401  # its modules declare the metrics
from shared.case import base, facts, lifecycle, orders
from shared.case.catalogue import EVENTS
from shared.case.commands import COMMANDS
from shared.case.lifecycle import TRANSITIONS
from shared.case.orders import ORDER_TRANSITIONS
from shared.kit.telemetry import METRICS

TERMS = Path(__file__).with_name("glossary.yaml")
GLOSSARY = "docs/glossary.md"
DECISIONS = "docs/decisions"
METRICS_PAGE = "docs/metrics.md"
BEGIN, END = "<!-- written by `make generate` -->", "<!-- end of what `make generate` writes -->"
METRICS_HEAD = """# Metrics

Written by `make generate`. `GET /<service>/metrics` gives the metrics of the process of that service, as Prometheus
text; with `caseflow up` all services are one process. Where CASEFLOW_INNER_PORT is set, that port alone has them. A
metric appears with its first value. Labels hold no content.

Look at these first:

| question | metric |
|---|---|
| Is a reaction or a read model behind? | `caseflow_behind_events` |
| Does a message need the operator? | `caseflow_parked_messages` |
| Do commands collide, or does the log not answer? | `caseflow_command_retries_total` |
| Does a receiver of webhooks take nothing? | `caseflow_webhook_oldest_seconds` |
| Do deadlines fire late? | `caseflow_ticker_late_seconds` |
"""
INDEX_HEAD = """# Decisions

Written by `make generate`. A decision is one page: the question, the decision, the reasons with their figures, the
consequences. A decision that is revised keeps its page, which then names the page that replaces it.
"""


def word_lists() -> dict[str, type[Enum]]:
    """The closed word lists of shared/case by the name of their class."""
    closed = [cls for cls in vars(facts).values() if inspect.isclass(cls) and issubclass(cls, StrEnum)]
    lists: list[type[Enum]] = [base.Level, lifecycle.Status, orders.OrderStatus, *closed]
    return {cls.__name__: cls for cls in lists if cls is not StrEnum}


def values_of(words: type[Enum]) -> list[str]:
    """The values of a list as they are written; of numbers the names."""
    return [member.name.lower() if issubclass(words, IntEnum) else str(member.value) for member in words]


def missing_terms(terms: Mapping[str, Any]) -> list[str]:
    """Events and values without a Chinese term, and terms of events and values that there are not."""
    lists = {f"{name}.{value}" for name, words in word_lists().items() for value in values_of(words)}
    translated = {f"{name}.{value}" for name, values in terms["words"].items() for value in values}
    return sorted((lists ^ translated) | (EVENTS.keys() ^ terms["events"].keys()))


def domain_glossary(terms: Mapping[str, Any]) -> str:
    """The domain half of the glossary in Markdown."""
    lines = ["", "### Terms", "", *_table(("term", "Chinese", "source", "meaning"), _terms(terms["terms"])), ""]
    lines += ["### Events and commands", "", "Sources are clauses of GB/T 33200-2016 where only a number stands.", ""]
    lines += [*_table(("event", "command", "Chinese", "meaning", "source"), _events(terms["events"])), ""]
    for name, words in word_lists().items():
        doc = " ".join((words.__doc__ or "").split())
        rows = ((f"`{value}`", terms["words"][name][value]) for value in values_of(words))
        lines += [f"### {name}", "", doc, "", *_table(("value", "Chinese"), rows), ""]
    return "\n".join(lines)


def _terms(terms: Mapping[str, tuple[str, str, str]]) -> Iterator[tuple[str, ...]]:
    for term, (chinese, source, meaning) in sorted(terms.items()):
        yield term, chinese, source, meaning


def _events(terms: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    commands = {spec.event: name for name, spec in COMMANDS.items()}
    sources: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for row in TRANSITIONS.values():
        sources[row.event.TYPE][row.why] = None
    for order_row in ORDER_TRANSITIONS.values():
        sources[order_row.event.TYPE][order_row.why] = None
    for name, event in EVENTS.items():
        doc = " ".join((event.__doc__ or "").split())
        yield f"`{name}`", f"`{commands[event]}`", terms[name], doc, "; ".join(sources[name])


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    for row in (head, ("---",) * len(head), *rows):
        yield "| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |"


def glossary(text: str, terms: Mapping[str, Any]) -> str:
    """The page with its domain half written anew; the rest of its text stays. Raises ValueError without the marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{GLOSSARY} lacks the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{domain_glossary(terms)}\n{END}{after}"


def decisions_index(texts: Mapping[str, str]) -> str:
    """The index of the decisions by file name. Raises ValueError for a name or a page that has another form."""
    lines = [INDEX_HEAD]
    numbers = [name[:4] for name in texts]
    for name, text in sorted(texts.items()):
        title = text.partition("\n")[0].removeprefix("# ").strip()
        lacking = [part for part in ("## Question", "## Decision", "## Reasons", "## Consequences") if part not in text]
        if not re.fullmatch(r"[0-9]{4}-[a-z0-9-]+\.md", name) or numbers.count(name[:4]) > 1:
            raise ValueError(f"{DECISIONS}/{name}: name it NNNN-title.md, with a number of its own")
        if not text.startswith("# ") or lacking:
            raise ValueError(f"{DECISIONS}/{name}: begin with `# title`; it lacks {', '.join(lacking) or 'its title'}")
        lines.append(f"- [{name[:4]}]({name}) {title}")
    return "\n".join(lines) + "\n"


def metrics_page() -> str:
    """The page of the metrics: each that a module of the services declares, by name."""
    product = (metric for metric in METRICS.values() if metric.name.startswith("caseflow_"))  # tests declare others
    rows = (
        (f"`{metric.name}`", metric.kind.__name__.lower(), ", ".join(metric.labels), metric.meaning)
        for metric in sorted(product, key=lambda metric: metric.name)
    )
    return "\n".join([METRICS_HEAD, *_table(("metric", "kind", "labels", "meaning"), rows)]) + "\n"


def pages(root: Path = CHECKOUT) -> dict[str, str]:
    """The generated pages: their text by their path in the checkout."""
    terms = yaml.safe_load(TERMS.read_text())
    decisions = {path.name: path.read_text() for path in (root / DECISIONS).glob("[0-9]*.md")}
    return {
        GLOSSARY: glossary((root / GLOSSARY).read_text(), terms),
        f"{DECISIONS}/README.md": decisions_index(decisions),
        METRICS_PAGE: metrics_page(),
    }


def stale_pages(root: Path = CHECKOUT) -> dict[str, str]:
    """The generated pages that are not as the program says."""
    return {
        path: text
        for path, text in pages(root).items()
        if not (root / path).exists() or (root / path).read_text() != text
    }
