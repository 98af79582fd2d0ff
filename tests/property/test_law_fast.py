"""The fast forms of the law give what the plain ones give, and the law holds by the plain ones as well."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from random import Random
from typing import Any
from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

import shared.log.envelope  # noqa: F401 - the forms that the codec uses
from shared.case import base
from shared.case._fast import FORMS, FastForm
from shared.case.base import Event, Meta
from shared.case.lifecycle import Status
from tests.support import law
from tests.support.law import ask
from tests.support.law_table import check_row
from tests.support.law_walk import propose_case, propose_order
from tests.support.law_watch import CaseWatch, OrderWatch
from tests.support.plain import use_plain_forms
from tests.unit.test_law_tables import ALL

WALKS, STEPS = 12, 60
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
CHANGES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {}, optional={"version": st.integers(), "unit": st.none() | TEXTS, "status": st.sampled_from(Status)}
)
MODELS = st.sampled_from([law.event(ask(name)) for name in law.FACTS] + [ask("register").command.meta])


def _changed(draw: st.DrawFn) -> tuple[Any, ...]:
    return law.given(draw(st.sampled_from([*law.SITUATIONS]))), draw(CHANGES)


def _trusted(draw: st.DrawFn) -> tuple[Any, ...]:
    model = draw(MODELS)
    return type(model), dict(vars(model))


# By the name of the plain function: arguments for both forms.
ARGUMENTS: dict[str, Callable[[st.DrawFn], tuple[Any, ...]]] = {
    "_named_id": lambda draw: (draw(TEXTS),),
    "_changed": _changed,
    "trusted": _trusted,
}


@pytest.fixture
def _plain(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    use_plain_forms(monkeypatch)
    yield
    law.history.cache_clear()


def test_every_fast_form_is_compared_here() -> None:
    assert sorted(form.plain.__name__ for form in FORMS) == sorted(ARGUMENTS)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.plain.__name__)
@given(data=st.data())
def test_a_fast_form_gives_what_the_plain_one_gives(form: FastForm, data: st.DataObject) -> None:
    arguments = data.draw(st.composite(ARGUMENTS[form.plain.__name__])())
    before = [repr(argument) for argument in arguments]
    plain, fast = form.plain(*arguments), form.fast(*arguments)
    assert (type(fast), fast, repr(fast)) == (type(plain), plain, repr(plain))
    assert [repr(argument) for argument in arguments] == before, "neither changes its arguments"
    if isinstance(plain, Event | Meta):
        assert fast.model_fields_set == plain.model_fields_set
        assert to_json(fast) == to_json(plain)
        assert hash(fast) == hash(plain)


@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_a_derived_id_is_a_uuid5(policy: str, cause: str, subject: str, what: str) -> None:
    id = base.derived_id(policy, cause, subject, what)
    assert id == str(uuid5(base._NAMESPACE, "\x1f".join((policy, cause, subject, what))))
    assert UUID(id).version == 5


@pytest.mark.usefixtures("_plain")
def test_the_decision_tables_hold_by_the_plain_forms() -> None:
    for line in ALL:
        check_row(line)


@pytest.mark.usefixtures("_plain")
def test_the_walks_hold_by_the_plain_forms() -> None:
    for seed in range(WALKS):
        chance, case, order = Random(seed), CaseWatch(), OrderWatch()
        for _ in range(STEPS):
            case.ask(propose_case(chance, case.state))
            order.ask(propose_order(chance, order.state))
        case.look_back()
        order.look_back()


def test_what_is_plain_is_used_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the two tests above would show nothing."""
    use_plain_forms(monkeypatch)
    for form in FORMS:
        module = sys.modules[form.plain.__module__]
        assert vars(module)[form.plain.__name__] is form.plain
