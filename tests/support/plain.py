"""The law by its plain forms: what `shared/case/_fast.py` replaces is put back."""

from __future__ import annotations

import sys

import pytest

from shared.case._fast import FORMS
from tests.support import law


def use_plain_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put each plain form wherever a module of `shared` holds its fast one, until the test is over."""
    modules = [module for name, module in sys.modules.items() if name.startswith("shared.")]
    for form in FORMS:
        name = form.plain.__name__
        holders = [module for module in modules if vars(module).get(name) is form.fast]
        assert holders, f"nothing uses the fast form of {name}"
        for module in holders:
            monkeypatch.setattr(module, name, form.plain)
    law.history.cache_clear()
