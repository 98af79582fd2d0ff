"""The page docs/bad-input.md: what was tried, and what a running caseflow answered.

`python -m tests.e2e.bad_input_write` starts one, asks again and writes the page; a test compares it with the page.
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from shared.case.base import Position, new_id
from shared.log.case_numbers import case_number
from tests.support.client import TOWNSHIP, UNRULED, Desk
from tests.support.command import ROOT, finished
from tests.support.stack import START_S_MAX, Stack

HEADERS = {"key": "Idempotency-Key", "last": "Last-Event-ID"}
PAGE = ROOT / "docs" / "bad-input.md"
TRIED: dict[str, dict[str, list[dict[str, Any]]]] = yaml.safe_load(
    Path(__file__).with_suffix(".yaml").read_text("utf-8")
)
HEAD = f"""# Bad input: what was tried, and what was answered

Written by `python -m tests.e2e.bad_input_write` from the answers of a running caseflow; a test asks again. An
answer is never an echo: a problem names fields and says what to do, since what was sent may be a resident's own matter.
`the demand` is this body of `POST /intake/cases`, with the changes named:

```json
{json.dumps(UNRULED, ensure_ascii=False)}
```
"""
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_END = re.compile(r"(?<=ends at )\d+")
_NUMBER = re.compile(r"\b[0-9A-Z]{4}-[0-9A-Z]{5}-[0-9A-Z]\b")


def cases(desk: Desk) -> dict[str, str]:
    """The ids of cases in the situations that rows name."""
    return {
        "waiting": desk.waiting().id, "assigned": desk.assigned().id, "handled": desk.handled().id,
        "closed": desk.closed().id, "absent": new_id(TOWNSHIP, "nobody's"),
        "unused": case_number(Position("LOG_5101", 9_999_999)),
    }  # fmt: skip


def asked(desk: Desk, stack: Stack, row: Mapping[str, Any], places: Mapping[str, str]) -> str:
    """Do what a row says; the answer in one line."""
    if row.get("hangs_up"):
        return _hung_up(desk, stack, row)
    method, _, path = _filled(row["send"], places).partition(" ")
    headers = {header: row[name] for name, header in HEADERS.items() if name in row}
    options: dict[str, Any] = {}
    if "raw" in row:
        options["content"] = full(row["raw"]).encode(row.get("encoding", "utf-8"))
        headers["Content-Type"] = row["type"]
    elif "file" in row:
        file = row["file"]
        form = {"case": json.dumps({**UNRULED, **full(row["demand"])})}
        options = {"data": form, "files": {"files": (file["name"], full(file["data"]).encode(), file["type"])}}
    elif "demand" in row:
        options["json"] = {**UNRULED, **full(row["demand"])}
    elif "body" in row:
        options["json"] = _filled(row["body"], places)
    if "first" in row:
        desk.send(method, row.get("as"), path, headers=headers, json={**UNRULED, **row["first"]})
    return _told(desk.send(method, row.get("as"), path, headers=headers, **options))


def _told(answer: Any) -> str:
    if answer.headers.get("content-type") != "application/problem+json":
        return f"{answer.status_code} {answer.text[:80]}".strip()
    problem = answer.json()
    fields = "; ".join(f"{one['field']}: {one['message']}" for one in problem.get("fields", ()))
    words = (problem["detail"], f"[{fields}]" if fields else "", problem.get("advice", ""))
    return f"{answer.status_code} `{problem['code']}` {' '.join(word for word in words if word)}"


def _hung_up(desk: Desk, stack: Stack, row: Mapping[str, Any]) -> str:
    head = f"{row['send']} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer demo-{row['as']}\r\nContent-Length: 900\r\n"
    with socket.create_connection(("127.0.0.1", stack.port)) as half:
        half.sendall(f"{head}Content-Type: {row['type']}\r\n\r\n{row['raw']}".encode())
    return "nobody to answer; the next request is answered" if desk.waiting().id else ""


def ran(stack: Stack, row: Mapping[str, Any]) -> str:
    """Run `caseflow` as a row says; its exit code and what it said last, and the rows that it rejected."""
    free = {"CASEFLOW_PORT": str(_free())} if row["run"] == "up" else {}
    with TemporaryDirectory(prefix="caseflow-tried-") as name:
        folder = Path(name)
        for file, text in row.get("files", {}).items():
            (folder / file).write_text(text, row.get("encoding", "utf-8"))
        data = {"CASEFLOW_DATA": str(stack.data if row.get("running") else folder / "data")}
        environment = {**os.environ, **data, **free, **row.get("env", {}), "TERM": "dumb", "COLUMNS": "200"}
        done = finished(row["run"].replace("{dir}", name).split(), environment, START_S_MAX)
        lines = (line.strip("│ ") for line in done.stderr.splitlines())
        said = [line for line in lines if line and line[0] not in "╭╰"]
        rejected = folder / "rejected.csv"
        told = said[-2:] if said[-1:] and not said[-1].startswith("caseflow") else said[-1:]
        told += rejected.read_text("utf-8-sig").splitlines()[1:] if rejected.exists() else []
    text = " / ".join(told).replace(str(stack.data.resolve()), "data").replace(f"{name}/", "")
    return f"exit {done.returncode}: {re.sub(r'process [0-9]+', 'process …', text)}"


def _free() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _filled(value: Any, places: Mapping[str, str]) -> Any:
    """Rows name cases by situation: {closed}."""
    text = json.dumps(full(value), ensure_ascii=False)
    for name, id in places.items():
        text = text.replace(f"{{{name}}}", id)
    return json.loads(text)


def full(value: Any) -> Any:
    """{x: [字, 3]} is 字字字."""
    if isinstance(value, dict):
        if set(value) == {"x"}:
            what, times = value["x"]
            return what * times
        return {name: full(one) for name, one in value.items()}
    return [full(one) for one in value] if isinstance(value, list) else value


def shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return re.sub(r'\{"x": \[("[^"]*"), (\d+)\]\}', r"\1 × \2", text)


def request(row: Mapping[str, Any]) -> str:
    """What a row does, in words."""
    words = [f"`{row['send']}`", f"as {row['as']}" if "as" in row else "without a token"]
    if "key" in row:
        words.append(f"under the key `{row['key']}`")
    if "last" in row:
        words.append(f"with `Last-Event-ID: {row['last']}`")
    if "demand" in row:
        words.append(f"the demand with `{shown(row['demand'])}`" if row["demand"] else "the demand")
    if "first" in row:
        words.append("after the demand itself")
    if "file" in row:
        words.append(f"and the file `{shown(row['file'])}`")
    if "raw" in row:
        words.append(f"`{shown(row['raw'])}` as {row['type']}{', ' + row['encoding'] if 'encoding' in row else ''}")
    if "body" in row:
        words.append(f"`{shown(row['body'])}`")
    return ", ".join(words)


def command(row: Mapping[str, Any]) -> str:
    env = row.get("env", {})
    words = [*(f"{name}={value}" for name, value in env.items()), "caseflow", row["run"]]
    files = "".join(f", {name}: `{shown(text)}`" for name, text in row.get("files", {}).items())
    how = f"`{' '.join(words)}`".replace("{dir}/", "") + files + (f" in {row['encoding']}" if "encoding" in row else "")
    return how + (" while caseflow runs" if row.get("running") else "")


def http_part(stack: Stack) -> Iterator[str]:
    """The tables of what was sent over HTTP, asked anew."""
    with closing(Desk(stack.url)) as desk:
        places = cases(desk)
        for title, rows in TRIED["http"].items():
            yield from table(f"HTTP: {title.lower()}", [(r, request(r), asked(desk, stack, r, places)) for r in rows])


def cli_part(stack: Stack) -> Iterator[str]:
    """The tables of what was typed, done anew."""
    for title, rows in TRIED["cli"].items():
        yield from table(f"Command line: {title.lower()}", [(r, command(r), ran(stack, r)) for r in rows])


def table(title: str, rows: Iterable[tuple[Mapping[str, Any], str, str]]) -> Iterator[str]:
    yield from ("", f"## {title}", "", "| tried | how | answer |", "|---|---|---|")
    for row, how, answer in rows:
        answer = _END.sub("…", _NUMBER.sub("…", _UUID.sub("…", answer)))
        yield f"| {row['tried']} | {_cell(how)} | {_cell(answer)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
