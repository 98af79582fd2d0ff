"""`caseflow reference`: publish, list, show and check the documents that the law and the policies cite."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic_core import to_json

from infra.cli.base import CODE_USAGE, DataFolder, Refused, app, progress_bar, read_settings, run, say
from infra.servers.attach import open_servers
from shared.case.base import Owner
from shared.case.rights import Right
from shared.kit.clock import SystemClock
from shared.kit.identity import Identity, TokenFile
from shared.kit.service import connect_as
from shared.kit.settings import Settings
from shared.log import topology
from shared.log.port import LogConflict
from shared.log.streams import Streams
from shared.reference import codec
from shared.reference.documents import Document, DocumentKind, Publication
from shared.reference.load import LoadedDocuments, load_folder, load_table, load_yaml
from shared.reference.publish import PublishCounts, publish, with_years
from shared.reference.reference_data import ReferenceData
from shared.reference.region_import import nbs_documents
from shared.reference.regions import NATION
from shared.reference.review import APPROVING, changed_powers, removed_rows, with_admin
from shared.reference.subject_import import import_subjects
from shared.reference.validate import DocumentFinding, Gravity, validate

_FINDINGS_SHOWN_MAX = 50
YAML_ENDINGS = (".yaml", ".yml")
group = typer.Typer(no_args_is_help=True, help=__doc__)
app.add_typer(group, name="reference")
Files = Annotated[list[Path], typer.Argument(help="YAML files, or folders of them; CSV and XLSX with --kind.")]
KindOf = Annotated[DocumentKind | None, typer.Option(help="The kind of the rows of a CSV or XLSX file.")]
RegionOf = Annotated[str, typer.Option(help="The region of the document for the rows of a CSV or XLSX file.")]


TokenOf = Annotated[
    str, typer.Option(help="The token of who publishes, who needs the right admin; @FILE reads it from a file.")
]
ApproverOf = Annotated[
    str, typer.Option(help="The token of a second person (right admin or audit), for a change of the own rights.")
]
ReasonOf = Annotated[str, typer.Option(help="Why it is published, in one line; it is kept with the document.")]
RemoveOf = Annotated[bool, typer.Option("--remove", help="Take the rows away that the new documents do not name.")]


@dataclass(frozen=True)
class Publishing:
    """Who asks for a publication, as stated on the command line: two tokens, the reason, whether rows may go."""

    token: str
    approved_by: str
    reason: str
    remove: bool


@asynccontextmanager
async def open_streams(settings: Settings) -> AsyncIterator[tuple[Streams, Settings]]:
    """The streams of this installation, as the administrator, and its settings. Raises LogUnavailable, CannotStart."""
    async with open_servers(settings, say) as servers:
        own = servers.settings("admin")
        connection = await connect_as(own, "reference")
        try:
            yield Streams(connection), own
        finally:
            await connection.close()


def _load_files(files: Sequence[Path], kind: DocumentKind | None, region: str) -> LoadedDocuments:
    """The documents of all files. Raises LoadError, Refused."""
    whole = LoadedDocuments()
    for file in files:
        if not file.exists():
            raise Refused(f"{file} does not exist; name YAML files or a folder of them", CODE_USAGE)
        if file.is_dir():
            loaded = load_folder(file)
        elif file.suffix.lower() in YAML_ENDINGS:
            loaded = load_yaml(file)
        elif kind is None:
            raise Refused(f"{file.name}: give the kind of its rows by --kind: {', '.join(DocumentKind)}", CODE_USAGE)
        else:
            loaded = load_table(file, kind, region)
        whole.documents += loaded.documents
        whole.places |= loaded.places
    names = [document.name for document in whole.documents]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise Refused(f"{repeated} is given twice; put its rows into one document", CODE_USAGE)
    return whole


async def _findings(loaded: LoadedDocuments, streams: Streams | None) -> list[DocumentFinding]:
    """The findings about these documents, checked together with those in force, if any."""
    reference_data = ReferenceData()
    if streams is not None:
        await reference_data.load(streams)
    new = {document.name for document in loaded.documents}
    rest = [document for document in await in_force(streams) if document.name not in new] if streams else []
    findings = validate([*rest, *loaded.documents], loaded.places, reference_data.regions)
    return [finding for finding in findings if finding.document in new]


async def in_force(streams: Streams) -> list[Document]:
    """All documents in force except regions, with their rows."""
    reference_data = ReferenceData()
    await reference_data.load(streams)
    return [document for document in reference_data.documents() if document.kind is not DocumentKind.REGIONS]


def _print_findings(findings: Sequence[DocumentFinding]) -> bool:
    """Print the findings; whether one of them is an error."""
    for finding in findings[:_FINDINGS_SHOWN_MAX]:
        typer.echo(str(finding))
    if len(findings) > _FINDINGS_SHOWN_MAX:
        typer.echo(f"... and {len(findings) - _FINDINGS_SHOWN_MAX} more")
    errors = sum(finding.gravity is Gravity.ERROR for finding in findings)
    say(f"{errors} errors, {len(findings) - errors} warnings")
    return errors > 0


@group.command(name="validate")
def validate_files(files: Files, kind: KindOf = None, region: RegionOf = NATION) -> None:
    """Check the rows of documents and the relations between them, without a server."""
    run(_validate(files, kind, region))


async def _validate(files: Sequence[Path], kind: DocumentKind | None, region: str) -> None:
    loaded = _load_files(files, kind, region)
    say(f"{len(loaded.documents)} documents, {sum(len(document.rows) for document in loaded.documents)} rows")
    if _print_findings(await _findings(loaded, None)):
        raise typer.Exit(1)


@group.command()
def load(
    files: Files,
    kind: KindOf = None,
    region: RegionOf = NATION,
    token: TokenOf = "",
    approved_by: ApproverOf = "",
    reason: ReasonOf = "",
    remove: RemoveOf = False,
    data: DataFolder = None,
) -> None:
    """Check documents together with those in force and publish new content; one error prevents the publishing.

    A document replaces the one of its kind and region, but a calendar keeps the years that the new one does not name.
    Rows that would go are listed first, and go with --remove only. A change of the own rights needs a second person.
    """
    run(_load(read_settings(data), files, kind, region, Publishing(token, approved_by, reason, remove)))


async def _load(
    settings: Settings, files: Sequence[Path], kind: DocumentKind | None, region: str, request: Publishing
) -> None:
    loaded = _load_files(files, kind, region)
    async with open_streams(settings) as (streams, own):
        loaded.documents = [await _with_years(document, streams) for document in loaded.documents]
        if _print_findings(await _findings(loaded, streams)):
            raise Refused("nothing was published: correct the errors above")
        before = {document.name: document for document in await in_force(streams)}
        removed = [line for document in loaded.documents for line in await _removed(document, streams)]
        _refuse_removal(removed, request)
        publication = _publication(list(before.values()), loaded.documents, own, request)
        edited = [
            document.model_copy(
                update={
                    "publication": publication,
                    "sequence": before[document.name].sequence if document.name in before else document.sequence,
                }
            )
            for document in loaded.documents
        ]
        await _publish(streams, edited, len(edited))


async def _removed(document: Document, streams: Streams) -> list[str]:
    """The rows that a document takes out of force."""
    message = await streams.last(topology.REFERENCE, topology.reference(document.kind, document.region))
    if message is None or message.data == document.encode():
        return []
    standing = codec.decode_document(message.data, message.sequence)
    return [f"{document.name} {key}: would be removed" for key in removed_rows(standing, document)]


def _refuse_removal(removed: Sequence[str], request: Publishing) -> None:
    """Print the rows that would go. Raises Refused without --remove."""
    for line in removed[:_FINDINGS_SHOWN_MAX]:
        typer.echo(line)
    if len(removed) > _FINDINGS_SHOWN_MAX:
        typer.echo(f"... and {len(removed) - _FINDINGS_SHOWN_MAX} more")
    if removed and not request.remove:
        raise Refused(
            f"nothing was published: the new documents lack {len(removed)} rows that are in force. Add the rows above "
            "to the files, or run the command again with --remove"
        )


def _publication(
    before: Sequence[Document], documents: Sequence[Document], settings: Settings, request: Publishing
) -> Publication | None:
    """Who publishes and why; None while nobody has the right admin yet. Raises Refused where somebody must be named.

    A change of the publisher's own rights, direct or by a deputy's line, needs a second person of before the change.
    """
    reference_data = ReferenceData(before)
    if not with_admin(reference_data):
        return None
    # Whoever starts a command sets its environment: where there are tokens, those of the demo do not count here.
    own = settings.model_copy(update={"demo": settings.demo and not settings.tokens_file.exists()})
    identity = Identity(
        owner=Owner.REPORTING, settings=own, reference_data=reference_data, tokens=TokenFile(own.tokens_file)
    )
    publisher = identity.caller(_token(request.token)) if request.token else None
    if publisher is None or Right.ADMIN not in publisher.rights:
        reason = "this token is of nobody with the right admin" if request.token else "nobody says who publishes"
        raise Refused(f"nothing was published: {reason}; give the token of one who has it by --token", CODE_USAGE)
    if not request.reason.strip():
        raise Refused("nothing was published: say why in one line, by --reason", CODE_USAGE)
    names = {document.name for document in documents}
    after = [*(document for document in before if document.name not in names), *documents]
    changes = changed_powers(before, after, publisher.person)
    approver = identity.caller(_token(request.approved_by)) if request.approved_by else None
    second = approver is not None and approver.person != publisher.person and bool(approver.rights & APPROVING)
    if request.approved_by and not second:
        reason = "the token of --approved-by is of no second person with the right admin or audit"
        raise Refused(f"nothing was published: {reason}", CODE_USAGE)
    if changes and not second:
        for change in changes:
            typer.echo(change)
        raise Refused(
            f"nothing was published: this changes what {publisher.person} may do, as listed above. A second person "
            "with the right admin or audit approves it by --approved-by"
        )
    return Publication(
        publisher=publisher.person,
        post=publisher.post,
        reason=request.reason.strip(),
        at=SystemClock().now(),
        approver=approver.person if approver is not None else None,
    )


def _token(text: str) -> str:
    """The token that an option gives, or that is in the file which the option names by @. Raises OSError."""
    return Path(text[1:]).read_text("utf-8").strip() if text.startswith("@") else text


async def _with_years(document: Document, streams: Streams) -> Document:
    """The document; a calendar keeps the years in force that it does not name."""
    known = await _last(streams, document.kind, document.region) if document.kind is DocumentKind.CALENDARS else None
    if known is None or not (kept_years := sorted(known.by_key.keys() - document.by_key.keys())):
        return document
    say(f"{document.name}: {', '.join(kept_years)} stay as they are")
    return with_years(document, known)


async def _publish(streams: Streams, documents: Any, total: int | None) -> None:
    counts = PublishCounts()
    with progress_bar("publishing documents", total) as show_progress:

        def show(now: PublishCounts, document: Document) -> None:
            nonlocal counts
            counts = now
            show_progress(now.published + now.unchanged, f"{now.rows} rows")

        try:
            await publish(streams, documents, show)
        except LogConflict as error:
            raise Refused(f"somebody else published meanwhile ({error}); run the command again") from None
    say(f"{counts.published} documents published, {counts.unchanged} unchanged, {counts.rows} rows in all")


@group.command(name="import-regions")
def import_regions(
    folder: Path, token: TokenOf = "", reason: ReasonOf = "", remove: RemoveOf = False, data: DataFolder = None
) -> None:
    """Publish the national table of regions: provinces, cities, areas, streets, villages as .csv or .csv.gz."""
    run(
        _import_regions(read_settings(data), folder, Publishing(token, "", reason, remove)),
        "interrupted; run the same command again, what is published stays",
    )


async def _import_regions(settings: Settings, folder: Path, request: Publishing) -> None:
    if not folder.is_dir():
        raise Refused(f"{folder} is no folder; name the one that holds provinces.csv and the others", CODE_USAGE)
    with progress_bar(
        "checking the tables", None
    ) as show_progress:  # whole first: a fault on the last line publishes nothing
        total = 0
        for total, _ in enumerate(nbs_documents(folder), 1):
            show_progress(total, "documents")
    async with open_streams(settings) as (streams, own):
        removed = [line for document in nbs_documents(folder) for line in await _removed(document, streams)]
        _refuse_removal(removed, request)
        publication = _publication(await in_force(streams), [], own, request)
        published = (document.model_copy(update={"publication": publication}) for document in nbs_documents(folder))
        await _publish(streams, published, total)


@group.command(name="import-subjects")
def import_subject_tree(
    file: Path,
    region: RegionOf = NATION,
    token: TokenOf = "",
    reason: ReasonOf = "",
    remove: RemoveOf = False,
    data: DataFolder = None,
) -> None:
    """Publish the subject tree of a CSV or XLSX file with a column per level; known subjects keep their codes."""
    run(_import_subjects(read_settings(data), file, region, Publishing(token, "", reason, remove)))


async def _import_subjects(settings: Settings, file: Path, region: str, request: Publishing) -> None:
    async with open_streams(settings) as (streams, own):
        known = await _last(streams, DocumentKind.SUBJECTS, region)
        document = import_subjects(file, known, region, known.note if known else "")
        _refuse_removal(await _removed(document, streams), request)
        publication = _publication(await in_force(streams), [document], own, request)
        edited = {"publication": publication, "sequence": known.sequence if known else 0}
        await _publish(streams, [document.model_copy(update=edited)], 1)


@group.command(name="list")
def list_documents(data: DataFolder = None) -> None:
    """List the documents in force: kind, region, version, rows, note; who published each, and why."""
    run(_list(read_settings(data)))


async def _list(settings: Settings) -> None:
    async with open_streams(settings) as (streams, _):
        reference_data = ReferenceData()
        await reference_data.load(streams)
        rows = {document.name: len(document.rows) for document in await in_force(streams)}
        for document in sorted(
            reference_data.documents(), key=lambda document: (list(DocumentKind).index(document.kind), document.region)
        ):
            path = "全国" if document.region == NATION else reference_data.regions.path(document.region)
            count = rows.get(document.name, "")
            typer.echo(
                f"{document.kind:<9} {document.region} @{document.sequence:<6} {count:>6}  {path}  {document.note}  "
                f"{_published_by(document.publication)}"
            )
        for name, reason in reference_data.refused.items():
            say(f"{name}: its newest version is not in force: {reason}")


def _published_by(publication: Publication | None) -> str:
    if publication is None:
        return "[publisher unknown]"
    approved = f", approved by {publication.approver}" if publication.approver else ""
    who = f"{publication.publisher} ({publication.post}){approved}"
    return f"[{who}, {publication.at:%Y-%m-%d %H:%M}Z: {publication.reason}]"


@group.command()
def show(
    kind: Annotated[DocumentKind, typer.Argument(help="The kind of document.")],
    region: Annotated[str, typer.Argument(help="Its region, twelve digits; the nation's when left out.")] = NATION,
    data: DataFolder = None,
) -> None:
    """Print one document in force as JSON."""
    run(_show(read_settings(data), kind, region))


async def _show(settings: Settings, kind: DocumentKind, region: str) -> None:
    async with open_streams(settings) as (streams, _):
        document = await _last(streams, kind, region)
        if document is None:
            raise Refused(f"no {kind} are in force for {region}; see `caseflow reference list`", CODE_USAGE)
        typer.echo(
            to_json(
                {"reference": document.reference} | document.model_dump(mode="json", serialize_as_any=True), indent=1
            )
        )


async def _last(streams: Streams, kind: DocumentKind, region: str) -> Document | None:
    message = await streams.last(topology.REFERENCE, topology.reference(kind, region))
    return None if message is None else codec.decode_document(message.data, message.sequence)
