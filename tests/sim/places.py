"""The regions of a world (a few of the demo, in two areas), their units and their people."""

from __future__ import annotations

from shared.reference.documents import Document, DocumentKind
from shared.reference.people import PersonRow

PROVINCE, CITY, COUNTY = "510000000000", "510100000000", "510104000000"
TOWN, OTHER_TOWN, VILLAGE = "510104017000", "510104022000", "510104017001"
FAR_COUNTY, FAR_TOWN = "510703000000", "510703001000"
REGIONS = (COUNTY, TOWN, OTHER_TOWN, VILLAGE, FAR_COUNTY, FAR_TOWN)
ALL_REGIONS = (*REGIONS, CITY, PROVINCE, "510700000000")
SLUGS = ("housing", "police", "labour", "women")
PLATFORM, PLATFORM_PERSON = "demo", "platform-demo"

MARK = "XQ7ZKW9VJT4H密"  # in each private text and nowhere else; too long to occur in a seal by chance
# Texts that fit a rule of the demo, and some that fit none.
TEXTS = (
    f"小区物业不修电梯 {MARK}",
    f"有人家暴 {MARK}",
    f"夜间施工噪音 {MARK}",
    f"拖欠工资 {MARK}",
    f"说不清楚的事 {MARK}",
    f"something else {MARK}",
)


def unit(region: str, slug: str) -> str:
    """A department of a region."""
    return f"{region}-{slug}"


def county_of(region: str) -> str:
    """The county whose departments handle a region's cases."""
    return FAR_COUNTY if region.startswith("5107") else COUNTY


def units_of(region: str) -> list[str]:
    """The units that handle the cases of a region in the simulation."""
    return [unit(county_of(region), slug) for slug in SLUGS]


def staff(unit: str) -> list[str]:
    """The people of a unit."""
    return [f"sim.{unit[:6]}.{unit[13:]}.{number}" for number in (1, 2, 3)]


def people() -> Document:
    """The people of the simulation, as a reference document."""
    units = [unit(region, slug) for region in (COUNTY, FAR_COUNTY) for slug in (*SLUGS, "urban", "environment")]
    rows = [PersonRow(id=id, name="模拟", unit=unit_, post="handler") for unit_ in units for id in staff(unit_)]
    return Document(kind=DocumentKind.PEOPLE, region=VILLAGE, rows=tuple(rows))
