"""Commands as people and platforms write them: the facts of a command as a model without seals, and back.

Over HTTP the body of a command, over NATS the data of a submission.
"""

from __future__ import annotations

from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import AwareDatetime, BaseModel, ConfigDict, create_model

from shared.case.base import FILLED, PRIVATE, Facts


@cache
def body_of(facts: type[Facts]) -> type[BaseModel]:
    """The body of a command: its facts as people write them (content open, never a seal), and when it happened.

    Facts that the service adds are left out.
    """
    fields: dict[str, Any] = {
        name: (_opened(field.rebuild_annotation()), ... if field.is_required() else field.default)
        for name, field in facts.model_fields.items()
        if FILLED not in field.metadata
    }
    fields["time"] = (AwareDatetime | None, None)
    return create_model(
        facts.__name__, __config__=ConfigDict(extra="forbid", frozen=True), __doc__=facts.__doc__, **fields
    )


def facts_of_body(body: BaseModel, facts: type[Facts]) -> Facts:
    """The facts that a body states; facts that it leaves out are added later, if at all."""
    names = body_of(facts).model_fields.keys() & facts.model_fields
    return facts.model_construct(**{name: getattr(body, name) for name in names})


def _opened(annotation: Any) -> Any:
    """The annotation without seals: over HTTP `Private[X]` is X."""
    if get_origin(annotation) is Annotated and PRIVATE in annotation.__metadata__:
        inner = get_args(annotation)[0]
        return next(part for part in get_args(inner) if isinstance(part, type) and issubclass(part, BaseModel))
    if get_origin(annotation) in (Union, UnionType):
        parts = tuple(_opened(part) for part in get_args(annotation))
        return Union[parts]  # noqa: UP007
    return annotation
