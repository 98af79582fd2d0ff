"""The figures of the structure: floors, arrows, circles, and who uses what stands in shared."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from infra.dev import CHECKOUT, structure
from infra.dev.imports import read_graph

TREE = {
    "shared/__init__.py": "",
    "shared/case/law.py": "",
    "shared/kit/clock.py": "from shared.case import law",
    "shared/kit/both.py": "import shared.kit.clock",
    "shared/kit/lonely.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import services.a.app",
    "services/a/app.py": "from shared.kit.both import x\nfrom shared.kit import lonely",
    "services/b/app.py": "import shared.kit.both",
    "services/b/__main__.py": "import infra.cli.up",
    "infra/cli/up.py": "import importlib\nimportlib.import_module(f'services.{name}.app')",
}


def tree(root: Path, **more: str) -> Path:
    """TREE at `root`; a name in `more` is a path with `__` for each slash, without `.py`."""
    files = TREE | {name.replace("__", "/") + ".py": text for name, text in more.items()}
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def test_a_tree_without_a_fault(tmp_path: Path) -> None:
    graph = read_graph(tree(tmp_path))
    floors = structure.arrows_between(graph, 1)
    assert floors == {"shared": frozenset(), "services": {"shared"}, "infra": {"services"}}
    assert (structure.floors(floors), structure.circles(floors), structure.upward(floors)) == (3, [], [])
    rooms = structure.arrows_between(graph, 2)
    assert rooms["infra.cli"] == {"services.a", "services.b"}, "a module that is loaded by name is imported"
    assert structure.floors(rooms) == 4
    assert structure.sizes_of(graph)["services.b"] == structure.Size(2, 2)


def test_who_uses_a_module_of_shared(tmp_path: Path) -> None:
    users = structure.users(read_graph(tree(tmp_path)))
    assert users["shared.kit.both"] == {"a", "b"}
    assert users["shared.case.law"] == {"a", "b"}, "through other modules of shared"
    assert users["shared.kit.lonely"] == {"a"}
    assert "Lines of shared used by one service alone: 3" in "\n".join(structure.report(read_graph(tmp_path)))


def test_an_arrow_back_up_and_its_circle(tmp_path: Path) -> None:
    graph = read_graph(
        tree(tmp_path, shared__kit__clock="import services.a.app", shared__case__law="import shared.kit.both")
    )
    assert structure.upward(structure.arrows_between(graph, 1)) == [("shared", "services")]
    assert structure.circles(structure.arrows_between(graph, 1)) == [["services", "shared"]]
    rooms = structure.arrows_between(graph, 2)
    assert structure.upward(rooms) == [("shared.case", "shared.kit"), ("shared.kit", "services.a")]
    assert "circles: 1 (services.a <-> shared.kit)" in "\n".join(structure.report(graph))


def test_another_checkout_can_be_looked_at(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "infra.dev.structure", "--root", str(tree(tmp_path)))
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert "rooms 3, floors 3, arrows 2" in done.stdout
    assert "shared.kit.lonely" in done.stdout
