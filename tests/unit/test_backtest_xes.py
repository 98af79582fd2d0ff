"""XES trace by trace: what a log says, and what no log may hold."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import pytest

from infra.backtest.disk_sort import sorted_on_disk
from infra.backtest.xes import TOKEN_BYTES_MAX, traces
from infra.importing.rows import BadFile

pytestmark = pytest.mark.slow

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
TRACE = (
    '<trace><string key="concept:name" value="A1"/><date key="deadline" value="2011-12-06T13:41:31.788+01:00">'
    '<string key="nested" value="not ours"/></date>'
    '<event><string key="concept:name" value="甲 &amp; 乙"/><int key="n" value="3"/></event><event/></trace>'
)
LOG = f'{HEAD}<log xmlns="http://www.xes-standard.org/"><global scope="trace"><string key="x" value="y"/></global>'
BOMB = '<!DOCTYPE log [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
OUTSIDE = '<!DOCTYPE log [<!ENTITY a SYSTEM "file:///etc/hostname">]>'


def written(path: Path, text: str) -> Path:
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["a.xes", "a.xes.gz"])
def test_traces_and_events(tmp_path: Path, name: str) -> None:
    (trace,) = traces(written(tmp_path / name, f"{LOG}\n{TRACE}</log>"))
    assert trace.number == 3
    assert trace.cells == {"concept:name": "A1", "deadline": "2011-12-06T13:41:31.788+01:00"}
    assert trace.events == [{"concept:name": "甲 & 乙", "n": "3"}, {}]


@pytest.mark.parametrize("encoding", ["ISO-8859-1", "UTF-16", "GB18030", "gbk", "Big5", "windows-1252", "Shift_JIS"])
def test_a_prefix_and_another_encoding(tmp_path: Path, encoding: str) -> None:
    path, value = tmp_path / "a.xes", "é" if encoding in ("ISO-8859-1", "windows-1252") else "一"
    inner = f'<x:log xmlns:x="u"><x:trace><x:string key="k" value="{value * 9}"/></x:trace></x:log>'
    path.write_bytes(f'<?xml version="1.0" encoding="{encoding}"?>{inner}'.encode(encoding))
    assert [trace.cells for trace in traces(path)] == [{"k": value * 9}]


@pytest.mark.parametrize(
    ("encoding", "told"),
    [
        ("GB18030", "is not gb18030 as it declares"), ("no-such", "the encoding 'no-such', which is not known"),
        ("rot13", "the encoding 'rot13', which is not known"),
    ],
)  # fmt: skip
def test_an_encoding_that_cannot_be_read_is_told(tmp_path: Path, encoding: str, told: str) -> None:
    path = tmp_path / "a.xes"
    path.write_bytes(f'<?xml version="1.0" encoding="{encoding}"?><log>'.encode() + b"\xff\xff</log>")
    with pytest.raises(BadFile, match=told):
        list(traces(path))


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.xes", f"{HEAD}{BOMB}<log><trace><string key='a' value='&b;'/></trace></log>", "declares entities"),
        ("a.xes", f"{HEAD}{OUTSIDE}<log>&a;</log>", "declares entities"),
        ("a.xes", f"{LOG}{TRACE}", "ends early"),
        ("a.xes", f"{LOG}{TRACE}<trace><str", "ends early"),
        ("a.xes", "", "ends early"),
        ("a.xes", f"{LOG}</trace></log>", "a.xes:2: is not XML"),
        ("a.xes", "<html/>", "is no XES log: its root is <html>"),
        ("a.xes", f"{LOG}<trace>{'<list>' * 70}", "nested more than 64 deep"),
        ("a.xes", f'{LOG}<trace><string key="{"x" * (TOKEN_BYTES_MAX + 300_000)}"/></trace></log>', "one tag has more"),
        ("a.xes", "no xml at all", "is not XML"),
    ],
)
def test_what_is_no_log_is_told(tmp_path: Path, name: str, text: str, told: str) -> None:
    with pytest.raises(BadFile, match=told):
        list(traces(written(tmp_path / name, text)))


def test_a_packed_log_that_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "a.xes.gz"
    whole = gzip.compress((LOG + "".join(TRACE.replace("A1", f"A{n * n}") for n in range(5000)) + "</log>").encode())
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadFile, match="cut off"):
        list(traces(path))


def test_memory_holds_one_trace(tmp_path: Path) -> None:
    path = written(tmp_path / "a.xes", LOG + (TRACE + " " * 4000) * 3000 + "</log>")
    tracemalloc.start()
    assert sum(1 for _ in traces(path)) == 3000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * 1024 * 1024 < path.stat().st_size


@pytest.mark.parametrize("run_count", [1, 7, 100, 1000])
def test_items_come_in_order_and_equal_ones_as_they_came(run_count: int) -> None:
    items = [(n * 7919 % 13, n) for n in range(100)]
    assert list(sorted_on_disk(iter(items), lambda item: item[0], run_count)) == sorted(items)
