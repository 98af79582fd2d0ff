"""Content as people, platforms and files give it: judged alike, and never able to look like another content."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from shared.case.commands import COMMANDS
from shared.case.content import phone_number, safe_file_name, shown_line
from shared.kit.bodies import RegisterBody, body_of

FORM: dict[str, Any] = {
    "channel": "visit", "region": "510104017000", "nature": "complaint", "title": "路灯不亮", "text": "三盏路灯不亮",
    "parties": [{"name": "张三", "phone": "13800000000"}],
}  # fmt: skip
MISLEADING = ("\u202e", "\u2066", "\u200f", "\u061c", "\x1b", "\x85", "\u2028")


@pytest.mark.parametrize("mark", MISLEADING)
def test_a_character_that_changes_how_others_look_is_refused(mark: str) -> None:
    with pytest.raises(ValueError, match=f"U\\+{ord(mark):04X}"):
        shown_line(f"张{mark}三")
    changes: tuple[dict[str, Any], ...] = (
        {"title": f"路灯{mark}"},
        {"address": mark},
        {"parties": [{"name": f"张{mark}三"}]},
        {"parties": [{"name": "张三", "address": mark}]},
    )
    for changed in changes:
        with pytest.raises(ValidationError, match="invisible character"):
            RegisterBody.model_validate(FORM | changed)
    assert RegisterBody.model_validate(FORM | {"text": f"甲{mark}乙"}), "a text is content, shown as it is"


@pytest.mark.parametrize("text", ["𠮷野家", "ʻŌlelo", "👩‍👩‍👧", "a\u200cb", "两行\n标题", "é"])
def test_what_is_shown_stays(text: str) -> None:
    assert shown_line(text) == text


def test_characters_of_no_width_go() -> None:
    body = RegisterBody.model_validate(FORM | {"title": "路\u200b灯\ufeff不亮", "parties": [{"name": "张\u2060三"}]})
    assert (body.title, body.parties[0].name) == ("路灯不亮", "张三")


@pytest.mark.parametrize("name", ["../../etc/passwd", "C:\\a.jpg", "a/b", "..", ".", "", "photo\u202egpj.exe"])
def test_a_path_or_a_disguise_is_no_file_name(name: str) -> None:
    with pytest.raises(ValueError, match=r"is no name of a file|invisible character"):
        safe_file_name(name)
    correct = body_of(COMMANDS["correct"].facts)
    matter = {"title": "路灯", "text": "不亮", "file_names": [name]}
    with pytest.raises(ValidationError):
        correct.model_validate({"matter": matter, "note": {"text": "改"}})
    with pytest.raises(ValidationError):
        correct.model_validate({"note": {"text": "改", "file_names": [name]}})


@pytest.mark.parametrize("name", ["照片 1.jpg", "a..b", ".profile", "简历（终稿）.docx"])
def test_names_of_files_stay(name: str) -> None:
    assert safe_file_name(name) == name


def test_a_phone_is_judged_in_every_body_as_in_a_file() -> None:
    body = RegisterBody.model_validate(FORM | {"parties": [{"phone": "１３８　００００"}]})
    assert body.parties[0].phone == phone_number("１３８　００００") == "138 0000"
    attach = body_of(COMMANDS["attach"].facts)
    facts = {"channel": "visit", "contact_time": "2026-03-02T09:00:00+08:00", "matter": {"title": "甲", "text": "乙"}}
    for form, words in ((RegisterBody, FORM), (attach, facts)):
        key = "parties" if form is RegisterBody else "reporter"
        parties: Any = [{"phone": "1.38E+10"}]
        with pytest.raises(ValidationError, match="lost its digits"):
            form.model_validate(words | {key: parties if key == "parties" else {"parties": parties}})
