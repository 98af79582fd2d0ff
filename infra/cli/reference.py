"""`caseflow reference`: publish, list, show and check the documents that the law and the policies cite."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic_core import to_json

from infra.cli.base import CODE_USAGE, DataFolder, Refused, app, progress_bar, read_settings, run, say
from infra.servers.attach import open_servers
from shared.kit.service import connect_as
from shared.kit.settings import Settings
from shared.log import topology
from shared.log.port import LogConflict
from shared.log.streams import Streams
from shared.reference import codec
from shared.reference.documents import Document, DocumentKind
from shared.reference.load import LoadedDocuments, load_folder, load_table, load_yaml
from shared.reference.publish import PublishCounts, publish, with_years
from shared.reference.reference_data import ReferenceData
from shared.reference.region_import import nbs_documents
from shared.reference.regions import NATION
from shared.reference.subject_import import import_subjects
from shared.reference.validate import DocumentFinding, Gravity, validate

_FINDINGS_SHOWN_MAX = 50
YAML_ENDINGS = (".yaml", ".yml")
group = typer.Typer(no_args_is_help=True, help=__doc__)
app.add_typer(group, name="reference")
Files = Annotated[list[Path], typer.Argument(help="YAML files, or folders of them; CSV and XLSX with --kind.")]
KindOf = Annotated[DocumentKind | None, typer.Option(help="The kind of the rows of a CSV or XLSX file.")]
RegionOf = Annotated[str, typer.Option(help="The region of the document for the rows of a CSV or XLSX file.")]


@asynccontextmanager
async def open_streams(settings: Settings) -> AsyncIterator[Streams]:
    """The streams of this installation, as the administrator. Raises LogUnavailable, CannotStart."""
    async with open_servers(settings, say) as servers:
        connection = await connect_as(servers.settings("admin"), "reference")
        try:
            yield Streams(connection)
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
def load(files: Files, kind: KindOf = None, region: RegionOf = NATION, data: DataFolder = None) -> None:
    """Check documents together with those in force and publish new content; one error prevents the publishing.

    A document replaces the one of its kind and region, but a calendar keeps the years that the new one does not name.
    """
    run(_load(read_settings(data), files, kind, region))


async def _load(settings: Settings, files: Sequence[Path], kind: DocumentKind | None, region: str) -> None:
    loaded = _load_files(files, kind, region)
    async with open_streams(settings) as streams:
        loaded.documents = [await _with_years(document, streams) for document in loaded.documents]
        if _print_findings(await _findings(loaded, streams)):
            raise Refused("nothing was published: correct the errors above")
        await _publish(streams, loaded.documents, len(loaded.documents))


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
def import_regions(folder: Path, data: DataFolder = None) -> None:
    """Publish the national table of regions: provinces, cities, areas, streets, villages as .csv or .csv.gz."""
    run(
        _import_regions(read_settings(data), folder), "interrupted; run the same command again, what is published stays"
    )


async def _import_regions(settings: Settings, folder: Path) -> None:
    if not folder.is_dir():
        raise Refused(f"{folder} is no folder; name the one that holds provinces.csv and the others", CODE_USAGE)
    with progress_bar(
        "checking the tables", None
    ) as show_progress:  # whole first: a fault on the last line publishes nothing
        total = 0
        for total, _ in enumerate(nbs_documents(folder), 1):
            show_progress(total, "documents")
    async with open_streams(settings) as streams:
        await _publish(streams, nbs_documents(folder), total)


@group.command(name="import-subjects")
def import_subject_tree(file: Path, region: RegionOf = NATION, data: DataFolder = None) -> None:
    """Publish the subject tree of a CSV or XLSX file with a column per level; known subjects keep their codes."""
    run(_import_subjects(read_settings(data), file, region))


async def _import_subjects(settings: Settings, file: Path, region: str) -> None:
    async with open_streams(settings) as streams:
        known = await _last(streams, DocumentKind.SUBJECTS, region)
        document = import_subjects(file, known, region, known.note if known else "")
        await _publish(streams, [document.model_copy(update={"sequence": known.sequence if known else 0})], 1)


@group.command(name="list")
def list_documents(data: DataFolder = None) -> None:
    """List the documents in force: kind, region, version, rows, note."""
    run(_list(read_settings(data)))


async def _list(settings: Settings) -> None:
    async with open_streams(settings) as streams:
        reference_data = ReferenceData()
        await reference_data.load(streams)
        rows = {document.name: len(document.rows) for document in await in_force(streams)}
        for document in sorted(
            reference_data.documents(), key=lambda document: (list(DocumentKind).index(document.kind), document.region)
        ):
            path = "全国" if document.region == NATION else reference_data.regions.path(document.region)
            count = rows.get(document.name, "")
            typer.echo(
                f"{document.kind:<9} {document.region} @{document.sequence:<6} {count:>6}  {path}  {document.note}"
            )
        for name, reason in reference_data.refused.items():
            say(f"{name}: its newest version is not in force: {reason}")


@group.command()
def show(
    kind: Annotated[DocumentKind, typer.Argument(help="The kind of document.")],
    region: Annotated[str, typer.Argument(help="Its region, twelve digits; the nation's when left out.")] = NATION,
    data: DataFolder = None,
) -> None:
    """Print one document in force as JSON."""
    run(_show(read_settings(data), kind, region))


async def _show(settings: Settings, kind: DocumentKind, region: str) -> None:
    async with open_streams(settings) as streams:
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
