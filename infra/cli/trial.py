"""`caseflow reference try` and `learn`: try routing rules on past cases, and learn the points of their words."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic_core import to_json

from infra.cli.base import CODE_USAGE, DataFolder, Refused, progress_bar, run, say
from infra.cli.log import own_settings
from infra.cli.reference import group
from infra.operations.rebuild import connected
from infra.servers.attach import open_servers
from infra.triage.learning import PASSES, KnownCase, learn_points
from infra.triage.rules_file import rules_as_yaml
from infra.triage.trial import Columns, PastCase, Trial, TrialReport, read_past_cases
from services.routing.policy import words_of
from services.routing.queries import WorkQueries
from shared.case import events as e
from shared.case.base import Owner, Recorded
from shared.case.state import STATE, CaseState
from shared.kit.clock import SystemClock
from shared.kit.seal import unseal_fields
from shared.kit.service import RunningService
from shared.reference.conditions import RoutingFacts
from shared.reference.documents import Document, DocumentKind
from shared.reference.load import demo_documents, load_folder, load_yaml
from shared.reference.reference_data import ReferenceData
from shared.reference.regions import NATION
from shared.reference.rules import RuleRow

SHOW_EVERY = 100

RuleFiles = Annotated[
    list[Path] | None, typer.Argument(help="YAML files of rules, or folders; without any, the rules in force.")
]
Messages = Annotated[Path, typer.Option(help="Past cases as CSV or XLSX, with their known fields.")]
TitleOf = Annotated[str, typer.Option("--title", help="The heading of the titles.")]
TextOf = Annotated[str, typer.Option("--text", help="The heading of the texts.")]
FieldOf = Annotated[str, typer.Option("--field", help="The heading of the known fields: units or subjects, `a|b`.")]
IdOf = Annotated[str, typer.Option("--id", help="The heading of the numbers.")]
CountyOf = Annotated[str, typer.Option("--region", help="The county whose rules are tried, twelve digits.")]
TrialAsJson = Annotated[bool, typer.Option("--json", help="The report as JSON, on stdout.")]


@group.command(name="try")
def try_rules(
    rules: RuleFiles = None,
    messages: Annotated[
        Path | None, typer.Option(help="Past cases as CSV or XLSX; without it, the cases of this installation.")
    ] = None,
    against: Annotated[Path | None, typer.Option(help="A file of rules to compare with.")] = None,
    title: TitleOf = "title",
    text: TextOf = "text",
    field: FieldOf = "field",
    id: IdOf = "id",
    region: CountyOf = NATION,
    as_json: TrialAsJson = False,
    data: DataFolder = None,
) -> None:
    """Try routing rules on past cases: agreement, confusion, and what they would change. Nothing is published.

    The known field of a case of this installation is the unit that has it now. No text of a case is printed.
    """
    if messages is None:
        run(_try_past_cases(data, rules or [], as_json))
    else:
        run(_try_messages(rules or [], against, messages, Columns(title, text, field, id), region, as_json))


async def _try_messages(
    rules: Sequence[Path], against: Path | None, file: Path, columns: Columns, region: str, as_json: bool
) -> None:
    if not rules:
        raise Refused("name the rules to try: a YAML file of rules, or the folder that holds it", CODE_USAGE)
    documents = _documents(rules)
    before = _rules_of(_documents([against])) if against else None
    cases = read_past_cases(file, columns, region)
    trial = Trial(_rules_of(documents), lambda _: True, before, _subject_codes(demo_documents()))
    with progress_bar("trying the rules", len(cases)) as show_progress:
        for done, case in enumerate(cases, 1):
            trial.add(case)
            if done % SHOW_EVERY == 0 or done == len(cases):
                show_progress(done, f"{trial.report.desk} to the desk")
    _print(trial.report, as_json)


async def _try_past_cases(data: Path | None, files: Sequence[Path], as_json: bool) -> None:
    settings = own_settings(data)
    documents = _documents(files) if files else None
    async with open_servers(settings, say) as servers, connected(servers, SystemClock(), [Owner.ROUTING]) as services:
        routing = services[Owner.ROUTING]
        reference_data = routing.application.identity.reference_data
        rules = _rules_of(documents) if documents is not None else reference_data.rules
        before = reference_data.rules if documents is not None else None
        trial = Trial(rules, reference_data.has_unit, before)
        log = routing.application.data.log
        total = sum([await log.end(stream) for stream in log.streams()])
        with progress_bar("trying the rules on past cases", total) as show_progress:
            async for done, case in _past_cases(routing):
                if case is not None:
                    trial.add(case)
                show_progress(done, f"{trial.report.cases} cases")
    _print(trial.report, as_json)


async def _past_cases(routing: RunningService) -> AsyncIterator[tuple[int, PastCase | None]]:
    """The registered cases of the log whose content can be read, with the events read so far.

    Their words are as they were registered; the other facts too, so that an earlier triage does not answer for itself.
    """
    data = routing.application.data
    queries = WorkQueries(data.database)
    done = 0
    for stream in data.log.streams():
        end = await data.log.end(stream)
        at = 0
        if not end:
            continue
        async with aclosing(data.log.follow(stream, 0)) as batches:  # type: ignore[type-var]
            async for batch in batches:
                registered: list[Recorded[Any]] = [
                    recorded for recorded in batch if isinstance(recorded.event, e.Registered)
                ]
                keys = await data.vault.keys({recorded.address.id for recorded in registered})
                states = await queries.states([recorded.address.subject for recorded in registered])
                for recorded in registered:
                    key, state = keys.get(recorded.address.id), states.get(recorded.address.subject)
                    if key is None or state is None:
                        continue  # erased, or the worklist lies behind
                    event = unseal_fields(recorded.known, key, recorded.address.id, recorded.id)
                    yield done, _past_case(recorded.address.id, event, STATE.validate_json(state))
                position = batch[-1].position
                at = position.sequence if position else at
                yield done + at, None
                if at >= end:
                    break
        done += end


def _past_case(id: str, event: e.Registered, state: CaseState) -> PastCase:
    facts = RoutingFacts(
        event.nature, state.in_charge, event.subject, event.severity, words_of(event), event.complained_unit
    )
    return PastCase(id, facts, frozenset({state.unit[13:]}) if state.unit else frozenset())


@group.command(name="learn")
def learn_rules(
    rules: Annotated[Path, typer.Argument(help="A YAML file with the weighted rules to begin with.")],
    messages: Messages,
    to: Annotated[Path, typer.Option(help="The YAML file to write.")],
    title: TitleOf = "title",
    text: TextOf = "text",
    field: FieldOf = "field",
    id: IdOf = "id",
    region: Annotated[str, typer.Option(help="The region of the document of rules.")] = NATION,
    leave_out: Annotated[
        list[str] | None, typer.Option(help="A word that gets no points, as a place; repeatable.")
    ] = None,
) -> None:
    """Learn the points of the words of weighted rules from past cases with known fields, for a person to look at."""
    run(_learn(rules, messages, Columns(title, text, field, id), region, to, frozenset(leave_out or ())))


async def _learn(
    rules: Path, messages: Path, columns: Columns, region: str, to: Path, leave_out: frozenset[str]
) -> None:
    document = next((document for document in _documents([rules]) if document.region == region), None)
    if document is None:
        raise Refused(f"{rules.name} holds no rules of {region}; name the region by --region", CODE_USAGE)
    cases = [case for case in read_past_cases(messages, columns, region) if case.fields]
    learned = _with_learned_points(document, cases, leave_out)
    to.write_text(rules_as_yaml(learned), encoding="utf-8")
    words = sum(len(row.points) for row in learned.rows)
    say(f"{words} words in {to}; try them: caseflow reference try {to} --messages ...")


def _with_learned_points(document: Document, cases: Sequence[PastCase], leave_out: frozenset[str]) -> Document:
    rows: Sequence[RuleRow] = document.rows
    written = {row.id: row.points for row in rows if row.points}
    if not written:
        raise Refused(f"{document.name} has no rules with points; write some words for each field first", CODE_USAGE)
    known = [_known_case(case, rows) for case in cases]
    with progress_bar("learning points", PASSES) as show_progress:
        points = learn_points(known, written, lambda done, _: show_progress(done, f"{len(known)} cases"), leave_out)
    learned = [row.model_copy(update={"points": tuple(points[row.id])}) if points.get(row.id) else row for row in rows]
    return document.model_copy(update={"rows": tuple(learned)})


def _known_case(case: PastCase, rows: Sequence[RuleRow]) -> KnownCase:
    """The case with the weighted rules whose unit, id or subject is one of its fields."""
    title, _, text = case.facts.text.partition("\n")
    codes = tuple(field for field in case.fields if field.isdigit())
    right = {
        row.id
        for row in rows
        if row.points
        and (
            {row.id, row.then.unit.partition("-")[2]} & case.fields
            or (codes and (row.then.subject or "-").startswith(codes))
        )
    }
    return KnownCase(title, text, frozenset(right))


def _documents(files: Sequence[Path]) -> list[Document]:
    """The rules of files and folders. Raises LoadError, Refused."""
    documents = []
    for file in files:
        if not file.exists():
            raise Refused(f"{file} does not exist; name a YAML file of rules or a folder", CODE_USAGE)
        documents += (load_folder if file.is_dir() else load_yaml)(file).documents
    rules = [document for document in documents if document.kind is DocumentKind.RULES]
    if not rules:
        raise Refused(f"{', '.join(str(file) for file in files)}: no rules in them", CODE_USAGE)
    return rules


def _rules_of(documents: Sequence[Document]) -> Callable[[str], Sequence[Document]]:
    return ReferenceData(documents).rules


def _subject_codes(documents: Sequence[Document]) -> dict[str, tuple[str, ...]]:
    """The codes of each name of a subject."""
    codes: dict[str, tuple[str, ...]] = {}
    for document in documents:
        if document.kind is DocumentKind.SUBJECTS:
            for row in document.rows:
                codes[row.name] = (*codes.get(row.name, ()), row.code)
    return codes


def _print(report: TrialReport, as_json: bool) -> None:
    if as_json:
        typer.echo(to_json(report.as_json(), indent=1))
        return
    for line in report.lines():
        typer.echo(line)
