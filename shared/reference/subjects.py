"""The row of a subject in the subject tree."""

from __future__ import annotations

from shared.reference.row import Name, ReferenceRow, SubjectCode


class SubjectRow(ReferenceRow):
    """A subject of the tree. Its code has two digits per level, at most three levels."""

    code: SubjectCode
    name: Name

    @property
    def parent(self) -> str | None:
        return self.code[:-2] or None
