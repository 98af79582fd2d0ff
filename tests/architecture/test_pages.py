"""The generated pages: every event and word has its Chinese term, each decision has the same form and is listed."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.dev import CHECKOUT, pages
from infra.servers.services import SERVICES
from shared.kit.service import Service
from shared.kit.settings import DSN, ROLES, VARIABLE_PREFIX, Settings

TERMS: dict[str, Any] = yaml.safe_load(pages.TERMS.read_text())
DECISION = "# A title\n\n## Question\n\n## Decision\n\n## Reasons\n\n## Consequences\n"


def test_the_pages_are_what_the_program_says() -> None:
    assert list(pages.stale_pages()) == [], "run `make generate` and look at what changed"


def test_every_event_and_every_word_has_a_term() -> None:
    assert pages.missing_terms(TERMS) == [], "put its Chinese term into infra/dev/glossary.yaml"


def test_a_missing_term_and_a_term_of_nothing_are_found() -> None:
    terms = copy.deepcopy(TERMS)
    del terms["events"]["case.closed"]
    del terms["words"]["Stage"]["sign"]
    terms["words"]["Level"]["continent"] = "洲"
    assert pages.missing_terms(terms) == ["Level.continent", "Stage.sign", "case.closed"]


def test_the_glossary_keeps_what_is_written_by_hand() -> None:
    page = pages.glossary(f"# G\n{pages.BEGIN}\nwritten before\n{pages.END}\n## By hand\n", TERMS)
    assert page.startswith(f"# G\n{pages.BEGIN}\n")
    assert page.endswith(f"\n{pages.END}\n## By hand\n")
    assert "written before" not in page
    row = "| `case.handed_back` | `hand-back` | 退回 | The unit handed the case back"
    assert row in page
    assert "5.1.1 c: to the same centre, never to the resident |" in page
    assert "| `township` | 乡镇（街道） |" in page
    with pytest.raises(ValueError, match="lacks the lines"):
        pages.glossary("# G", TERMS)


def test_decisions_are_listed_by_number() -> None:
    index = pages.decisions_index({"0002-b.md": DECISION, "0001-a.md": DECISION.replace("A title", "Another")})
    assert index.endswith("\n- [0001](0001-a.md) Another\n- [0002](0002-b.md) A title\n")


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"1-a.md": DECISION}, "1-a.md: name it NNNN-title.md"),
        ({"0001-a.md": DECISION, "0001-b.md": DECISION}, "0001-a.md: name it NNNN-title.md, with a number of its own"),
        ({"0001-a.md": DECISION.removeprefix("# ")}, "begin with `# title`; it lacks its title"),
        ({"0001-a.md": DECISION.replace("## Reasons", "")}, "it lacks ## Reasons"),
    ],
)
def test_a_decision_of_another_form_is_refused(texts: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pages.decisions_index(texts)


def test_the_unit_of_systemd_has_settings_that_are_understood() -> None:
    page = (CHECKOUT / "docs" / "running.md").read_text()
    lines = re.findall(r"^Environment=(.*)$", page, re.MULTILINE)
    settings = Settings.from_env(dict(pair.split("=", 1) for line in lines for pair in line.split()))
    assert settings.demo is False
    assert settings.areas == ("5101",)
    assert [str(network) for network in settings.proxies] == ["127.0.0.1/32"]


@pytest.mark.parametrize(
    "page", sorted(set(CHECKOUT.glob("docs/**/*.md")) - {CHECKOUT / "docs/bad-input.md"}), ids=lambda page: page.name
)
def test_a_variable_that_a_page_names_is_a_setting(page: Path) -> None:
    names = {VARIABLE_PREFIX + name.upper() for name in (*Settings.model_fields, *(DSN + role for role in ROLES))}
    known = names | {"CASEFLOW_PG_DSN_", "CASEFLOW_DEEP", "CASEFLOW_BUDGET"}
    assert set(re.findall(r"CASEFLOW_[A-Z_]*[A-Z_]", page.read_text("utf-8"))) <= known


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.owner.value)
def test_the_page_of_a_service_names_its_jobs(service: Service) -> None:
    folder = CHECKOUT / "services" / service.owner
    page = (folder / "README.md").read_text()
    jobs = set(re.findall(rf'"({service.owner}\.[a-z_]+)": ', (folder / "app.py").read_text()))
    jobs |= {f"{service.owner}.messages"} if service.messages is not None else set()
    assert jobs == set(re.findall(rf"^\| `({service.owner}\.[a-z_]+)` \|", page, re.MULTILINE))
    assert page.startswith(f"# {service.owner}\n\nThis service owns ")
    assert "**Its tables**" in page
