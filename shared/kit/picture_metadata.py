"""The record of the metadata that was taken out of a picture: place, time, device and the parts themselves.

The record lies sealed beside its attachment in the object store. An informant's case has none, and where a case becomes
an informant's later, nobody is shown the record (petitions regulation, article 30).
"""

from __future__ import annotations

from pydantic import Base64Bytes, BaseModel, ConfigDict

from shared.case.state import CaseState
from shared.kit.access import Caller, may_see

RECORD_SUFFIX = ".metadata"
RECORD_FIELD = "metadata"  # stands for the field name when a record is sealed


class MetadataPart(BaseModel):
    """A part that was taken out of a picture. `data` is absent where the part was larger than a record keeps."""

    model_config = ConfigDict(frozen=True)

    kind: str
    size_bytes: int
    data: Base64Bytes | None = None


class PictureMetadata(BaseModel):
    """The metadata of a picture. Latitude and longitude are in degrees, `taken_at` is the camera's own writing."""

    model_config = ConfigDict(frozen=True)

    format: str
    taken_at: str | None = None
    device: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    parts: tuple[MetadataPart, ...] = ()


def record_name(object: str) -> str:
    """The name of the record beside an attachment. It is too long to be named as an attachment itself."""
    return object + RECORD_SUFFIX


def may_see_metadata(caller: Caller, case: CaseState) -> bool:
    """Whether the caller may know where and with which device a picture was taken: whoever may see the case, and nobody
    when an informant reported."""
    return may_see(caller, case) and not case.informant
