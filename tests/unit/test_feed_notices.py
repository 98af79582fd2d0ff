"""NoticeTexts of notices: what a file of templates may hold, how they are filled, how long they may become."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.supervision.feed.notices import NOTICE_CHARS_MAX, SHIPPED_TEMPLATES, NoticeTexts, last_day
from shared.kit.settings import BadSettings

GOOD = {"registered": "登记{number}", "extended": "延期{due}", "settled": "{unit}已答复"}


def written(folder: Path, templates: object) -> Path:
    path = folder / "notices.yaml"
    text = templates if isinstance(templates, str) else "".join(f"{id}: '{said}'\n" for id, said in templates.items())  # type: ignore[attr-defined]
    path.write_text(text, "utf-8")
    return path


def test_the_shipped_ones_say_the_number_and_who_and_until_when() -> None:
    texts = NoticeTexts.load(SHIPPED_TEMPLATES)
    for id, wanted in {
        "registered": "N-1 某局",
        "extended": "N-1 某局 3月9日",
        "settled": "N-1 某局",
        "declined": "N-1 某局",
        "attached": "某局",
        "merged": "N-1",
        "unmerged": "N-1 某局",
        "repeat_extended": "某局 3月9日",
        "repeat_settled": "某局",
        "repeat_declined": "某局",
    }.items():
        said = texts.fill(id, "N-1", "某局", "3月9日")
        assert all(word in said for word in wanted.split()), said
        assert "{" not in said


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"closed": "办结"}, "may hold attached, declined, extended, merged, .* and nothing else"),
        ({"settled": "{phone}"}, "settled may name"),
        ({"settled": "{unit.__class__}"}, "settled may name"),
        ({"settled": "{unit!r}"}, "settled may name"),
        ({"settled": "{unit:>9999999}"}, "settled may name"),
        ({"settled": "{0}"}, "settled may name"),
        ({"settled": "{"}, "settled may name"),
        ({"settled": "长" * 141}, "settled must be a text of at most 140 characters"),
        ({"settled": ""}, "settled must be a text"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_at_the_start(tmp_path: Path, changed: dict[str, str], said: str) -> None:
    with pytest.raises(BadSettings, match=said):
        NoticeTexts.load(written(tmp_path, GOOD | changed))


def test_a_template_that_a_file_lacks_is_the_shipped_one(tmp_path: Path) -> None:
    texts = NoticeTexts.load(written(tmp_path, GOOD))
    assert texts.fill("registered", "N-1", "某局", "") == "登记N-1"
    shipped = NoticeTexts.load(SHIPPED_TEMPLATES)
    assert texts.fill("declined", "N-1", "某局", "", "劳动仲裁") == shipped.fill(
        "declined", "N-1", "某局", "", "劳动仲裁"
    )


def test_a_declined_resident_is_told_the_other_path_however_long(tmp_path: Path) -> None:
    texts = NoticeTexts.load(SHIPPED_TEMPLATES)
    assert "劳动人事争议仲裁委员会" in texts.fill("declined", "N-1", "某局", "", "劳动人事争议仲裁委员会")
    text = texts.fill("declined", "N-1", "某局", "", "仲裁" * 150)
    assert len(text) == NOTICE_CHARS_MAX
    assert text.endswith("仲裁…。")
    assert "某局" in text


@pytest.mark.parametrize("text", ["[", "- a\n- b\n", "", "registered: 1\nextended: 2\nsettled: 3\n"])
def test_what_is_no_table_of_texts_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadSettings):
        NoticeTexts.load(written(tmp_path, text))
    with pytest.raises(BadSettings, match="cannot be read"):
        NoticeTexts.load(tmp_path / "nowhere.yaml")


def test_a_text_is_never_longer_than_three_parts(tmp_path: Path) -> None:
    texts = NoticeTexts.load(written(tmp_path, GOOD))
    said = texts.fill("settled", "N-1", "很长的单位名称" * 60, "")
    assert len(said) == NOTICE_CHARS_MAX
    assert said.endswith("…已答复"), "what is cut is the name of the unit"


@pytest.mark.parametrize(
    ("due", "said"),
    [
        (datetime(2026, 3, 9, 16, tzinfo=UTC), "2026年3月9日"),  # 24:00 of the 9th in China
        (datetime(2026, 3, 9, 16, 0, 1, tzinfo=UTC), "2026年3月10日"),
        (datetime(2026, 3, 9, 9, tzinfo=UTC), "2026年3月9日"),
    ],
)
def test_a_limit_that_ends_at_midnight_ends_on_the_day_before(due: datetime, said: str) -> None:
    assert last_day(due, "Asia/Shanghai") == said
