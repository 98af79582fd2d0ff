"""The dependencies of the wheel, read from requirements.in so that they are stated once.

hatchling loads this file by its path when it builds the wheel ([tool.hatch.metadata.hooks.custom] in pyproject.toml).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


def requirements(text: str) -> list[str]:
    """The requirements in the text of a .in file: one a line, without comments and empty lines."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


class RequirementsHook(MetadataHookInterface):
    """Fills in `dependencies`, which pyproject.toml declares dynamic."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the dependencies to the metadata of the project."""
        metadata["dependencies"] = requirements((Path(self.root) / "requirements.in").read_text())
