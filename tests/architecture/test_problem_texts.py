"""Every text and every code of a problem in the source stands in the catalogue, and every row there is used."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache

import yaml

from infra.dev import CHECKOUT
from shared.case.reasons import Reason
from shared.kit import problems
from shared.kit.languages import TEXTS_FILE, Language, meaning_of, types
from shared.kit.submission import PARKED_CODE

ROOTS = ("shared", "services", "infra")
OWN_CHARS_MIN = 8  # a template with fewer letters of its own is the text of another layer
CATALOGUE = yaml.safe_load(TEXTS_FILE.read_text("utf-8"))
HAN = re.compile(r"[一-鿿]")
CODES_BESIDE = {"http.404", "http.405", PARKED_CODE, *problems.OWN_FAULTS}  # not written as `code=` in a call


@cache
def nodes() -> list[ast.Call | ast.ClassDef]:
    """The calls and classes of the program, of files that name a problem."""
    files = (path for root in ROOTS for path in sorted((CHECKOUT / root).rglob("*.py")))
    texts = (text for path in files if "problems" in (text := path.read_text("utf-8")))
    return [node for text in texts for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call | ast.ClassDef)]


@cache
def problem_classes() -> Mapping[str, ast.ClassDef]:
    """The classes of problems of the program by name, with those made from them."""
    classes = [node for node in nodes() if isinstance(node, ast.ClassDef)]
    known: dict[str, ast.ClassDef] = {}
    while True:
        more = {
            node.name: node
            for node in classes
            if node.name == "ProblemError"
            or any(isinstance(base, ast.Name) and base.id in known for base in node.bases)
        }
        if more.keys() == known.keys():
            return known
        known = more


def calls() -> Iterator[ast.Call]:
    """Every call that makes a problem."""
    for node in nodes():
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in problem_classes():
                yield node


def templates(node: ast.expr | None) -> Iterator[str]:
    """The texts of an expression; {0}, {1} for the values inside."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from templates(node.body)
        yield from templates(node.orelse)
    elif isinstance(node, ast.JoinedStr):
        count, text = 0, ""
        for part in node.values:
            if isinstance(part, ast.Constant):
                text += str(part.value)
            else:
                text += f"{{{count}}}"
                count += 1
        yield text


@cache
def written() -> tuple[frozenset[str], frozenset[str]]:
    """The texts and the codes of all problems that the program makes."""
    texts, codes = set[str](), set[str]()
    for call in calls():
        arguments = {keyword.arg: keyword.value for keyword in call.keywords}
        for node in (call.args[0] if call.args else None, arguments.get("advice")):
            texts.update(templates(node))
        codes.update(templates(arguments.get("code")))
    for class_ in problem_classes().values():
        for line in class_.body:
            if isinstance(line, ast.AnnAssign | ast.Assign):
                targets = [line.target] if isinstance(line, ast.AnnAssign) else line.targets
                names = [part.id for t in targets for part in ast.walk(t) if isinstance(part, ast.Name)]
                values = line.value.elts if isinstance(line.value, ast.Tuple) else [line.value]
                for name, value in zip(names, values, strict=False):
                    if name == "advice":
                        texts.update(templates(value))
                    elif name == "code":
                        codes.update(templates(value))
    return frozenset(texts), frozenset(codes)


def test_every_text_of_a_problem_has_its_chinese() -> None:
    texts, _ = written()
    missing = sorted(
        text
        for text in texts
        if len(re.sub(r"\{\d\}|\W", "", text)) >= OWN_CHARS_MIN and text not in CATALOGUE["texts"]
    )
    assert not missing, f"write their Chinese into {TEXTS_FILE.name}: {missing}"


def test_every_code_has_a_meaning_and_every_meaning_a_code() -> None:
    _, codes = written()
    codes = frozenset(code for code in codes if "{" not in code)
    assert not {code for code in codes if meaning_of(code) is None}, f"give them a meaning in {TEXTS_FILE.name}"
    assert not CATALOGUE["types"].keys() - codes - CODES_BESIDE, "no problem has these codes"
    assert CATALOGUE["reasons"].keys() == {reason.code for reason in Reason}
    for code, meaning in types().items():
        assert HAN.search(meaning[Language.CHINESE]), code
        assert not HAN.search(meaning[Language.ENGLISH]), code
