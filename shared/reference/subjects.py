"""The row of a subject of the subject tree."""

from __future__ import annotations

from shared.reference.row import Name, ReferenceRow, SubjectCode


class SubjectRow(ReferenceRow):
    """A subject of the tree: two digits per level, three levels."""

    code: SubjectCode
    name: Name

    @property
    def parent(self) -> str | None:
        return self.code[:-2] or None
