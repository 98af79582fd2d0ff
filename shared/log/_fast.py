"""A faster form of what `envelope` does for each event that is read, beside its plain form.

Measured on CPython 3.11 with pydantic 2: tests/unit/test_fast_paths.py holds the fast form against the plain one.
"""

from __future__ import annotations

from typing import Any

from shared.case.base import Meta

_META_FIELDS = frozenset(Meta.model_fields)


def unvalidated_meta(fields: dict[str, Any]) -> Meta:
    """`Meta(**fields)` without its validation: the fields of an event on the log were validated when it was written.

    All fields must be given, with their final types; the dictionary becomes that of the model. It takes 3 µs in place
    of 12, of the 18 that reading an event takes; `model_construct` takes as long as validation.
    """
    meta = Meta.__new__(Meta)
    object.__setattr__(meta, "__dict__", fields)
    object.__setattr__(meta, "__pydantic_fields_set__", set(_META_FIELDS))
    object.__setattr__(meta, "__pydantic_extra__", None)
    object.__setattr__(meta, "__pydantic_private__", None)
    return meta
