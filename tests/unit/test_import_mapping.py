"""A mapping is read strictly: what it says holds, and what it gets wrong is named with the nearest right word."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.importing.mapping import ValueChoice, load_mapping
from infra.importing.mapping_tree import BadMapping

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "tests" / "support" / "messages.yaml"
HEADING = ["编号", "留言人", "标题", "时间", "内容", "答复", "答复时间"]


def broken(tmp_path: Path, old: str, new: str) -> str:
    """What is said about the sample mapping with one change."""
    text = SAMPLE.read_text("utf-8")
    assert old in text
    file = tmp_path / "m.yaml"
    file.write_text(text.replace(old, new), "utf-8")
    with pytest.raises(BadMapping) as told:
        load_mapping(file).check(HEADING)
    return str(told.value)


@pytest.mark.parametrize("file", [SAMPLE, *sorted((ROOT / "docs" / "mappings").glob("*.yaml"))], ids=lambda p: p.name)
def test_mappings_that_ship_can_be_read(file: Path) -> None:
    assert load_mapping(file).source


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("{title: 标题", "{title: 标題", "columns.title: the file has no column '标題'; did you mean '标题'?"),
        ("channel: web", "chanel: web", "unknown 'chanel'; did you mean 'channel'?"),
        ("title: 标题, text", "titel: 标题, text", "did you mean 'title'?"),
        ("channel: web", "channel: webb", "channel: 'webb' is none of letter, call"),
        ("otherwise: complaint", "otherwise: complain", "did you mean 'complaint'?"),
        ("otherwise: '510700000000'", "otherwise: '5107'", "region: '5107' is not a code of twelve digits"),
        ("[甲市]", "['/甲(市/']", "hold no regular expression"),
        ("source: sample", "source: Sample 1", "source: "),
        ("source: sample", "", "source is missing"),
        ("settle:\n", "settle:\n  when: {状況: [Closed]}\n", "settle.when.状況: the file has no column '状況'"),
        ("settle:\n", "settle:\n  when: {答复: []}\n", "settle.when.答复: "),
        ("{county}-petitions", "county-petitions", "fallback: 'county-petitions' is no unit"),
        ("same: [reporter, title]", "same: [reporter, phone]", "repeats.same"),
        ("reply: 答复, reply_time: 答复时间", "reply: 答复", "settle: name the columns"),
        ("{'5101': jj-window", "{'51x': jj-window", "is no beginning of a region code"),
        ("channel: web", "channel: web\ntime_zone: Mars/Base", "'Mars/Base' is no time zone"),
        ("channel: web", "channel: web\nchannel: app", "channel stands twice"),
        ("channel: web", "channel: &a web\nnature: *a", "is not YAML"),
        ("channel: web", "channel: [web", "m.yaml:"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert told in broken(tmp_path, old, new)


def test_the_line_is_told(tmp_path: Path) -> None:
    text = SAMPLE.read_text("utf-8")
    told = broken(tmp_path, "otherwise: '510700000000'", "otherwize: '510700000000'")
    line = next(n for n, one in enumerate(text.splitlines(), 1) if "otherwise: '510700000000'" in one)
    assert f"m.yaml:{line}: unknown 'region.otherwize'" in told


def test_a_mapping_that_is_no_mapping(tmp_path: Path) -> None:
    file = tmp_path / "m.yaml"
    for text in ("- a\n- b\n", "", "\x00", "just words"):
        file.write_text(text)
        with pytest.raises(BadMapping):
            load_mapping(file)


def test_aliases_cannot_blow_up(tmp_path: Path) -> None:
    file = tmp_path / "m.yaml"
    lines = ["a0: &a0 [x, x, x, x]"] + [
        f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}, *a{n - 1}]" for n in range(1, 30)
    ]
    file.write_text("\n".join(lines))
    with pytest.raises(BadMapping, match="aliases are not read"):
        load_mapping(file)


def test_a_choice_takes_the_first_word_in_its_order() -> None:
    choice = ValueChoice(words={"b": ("/A[0-9]区/",), "a": ("A市", "(")}, otherwise="c")
    assert choice.of({}, {"title": "A市A2区"}) == "b"
    assert choice.of({}, {"text": "在A市"}) == "a"
    assert choice.of({}, {"text": "f(x)"}) == "a"  # a word is no expression
    assert choice.of({}, {"reply": "A市"}) == "c"  # only title and text are looked into
    assert ValueChoice(column="k", values={"投诉": "complaint"}).of({"k": "投诉"}, {}) == "complaint"
    assert ValueChoice(column="k", values={"投诉": "complaint"}).of({"k": "?"}, {}) is None
    assert ValueChoice(column="k").of({"k": "0101"}, {}) == "0101"
