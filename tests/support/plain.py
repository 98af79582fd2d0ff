"""The law with its plain forms in place of the fast ones of `shared/case/_fast.py`."""

from __future__ import annotations

import sys

import pytest

from shared.case._fast import FORMS
from tests.support import law


def use_plain_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put each plain form in each module of `shared` that holds its fast form, until the end of the test."""
    modules = [module for name, module in sys.modules.items() if name.startswith("shared.")]
    for form in FORMS:
        name = form.plain.__name__
        holders = [module for module in modules if vars(module).get(name) is form.fast]
        assert holders, f"nothing uses the fast form of {name}"
        for module in holders:
            monkeypatch.setattr(module, name, form.plain)
    law.history.cache_clear()
