"""What the program tells about itself: traces, metrics, logs; never a word of content.

What may be told is the list `Attributes`: facts in the open and no more. A value that does not look like a code, an id
or a number becomes "?". Of an exception the type and the places are told, not the text, which may quote a value; of the
log lines of libraries the template, not the arguments.

Traces leave the process only when `otlp_endpoint` is set; else a span costs next to nothing, and trace ids still run
through requests, events and log lines (W3C Trace Context).
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO, TypedDict, Unpack

from opentelemetry import context, trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, StatusCode, TraceFlags
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from shared.kit.clock import Clock
from shared.kit.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

REPEATS_COUNT_MAX = 20  # lines of one kind per window
REPEATS_WINDOW_S = 10.0
KINDS_COUNT_MAX = 1000
MESSAGE_CHARS_MAX = 200
FRAMES_COUNT_MAX = 12
METRICS_MEDIA_TYPE = CONTENT_TYPE_LATEST
_PLAIN = re.compile(r"[A-Za-z0-9_.:/@{}+ -]{0,160}")
_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_ROOT = Path(__file__).parents[2]


class Attributes(TypedDict, total=False):
    """All that may stand in a trace, a log line or a metric's labels. Add a name here only for what is no content."""

    service: str
    case: str
    event: str
    command: str
    type: str
    version: int
    stream: str
    sequence: int
    position: str
    model: str
    reaction: str
    reference: str
    region: str
    unit: str
    route: str
    method: str
    statement: str
    source: str
    step: str
    outcome: str
    reason: str
    status: int
    attempts: int
    count: int
    bytes: int
    seconds: float
    port: int
    error: str


_NAMES = frozenset(Attributes.__annotations__)
# Labels of metrics: names with few values only, since each combination is a series of its own.
_LABELS = frozenset({
    "service", "type", "stream", "model", "reaction", "route", "method", "outcome", "status", "reason",
})  # fmt: skip

_registry = CollectorRegistry()
ProcessCollector(registry=_registry)
_tracer: trace.Tracer | None = None
_provider: TracerProvider | None = None
_service = ""
_trace_share = 1.0
_NOTHING: AbstractContextManager[None] = nullcontext()
_log = logging.getLogger("caseflow")


def setup(service: str, settings: Settings, stream: TextIO | None = None) -> None:
    """Make this process tell of itself as `service`: JSON lines to stderr, traces to `otlp_endpoint` when it is set."""
    global _service, _trace_share
    _service, _trace_share = service, settings.trace_share
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_Lines())
    handler.addFilter(_Repeats())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
    for name in ("uvicorn.access", "nats", "httpx", "httpcore", "asyncio", "faststream"):  # requests are counted by us
        logging.getLogger(name).setLevel(logging.WARNING)
    sys.excepthook = _uncaught
    if settings.otlp_endpoint:
        _export(service, settings.otlp_endpoint)


def shutdown() -> None:
    """Send what is not sent yet and stop tracing."""
    global _tracer, _provider
    if _provider is not None:
        _provider.shutdown()
    _tracer = _provider = None


def _export(service: str, endpoint: str) -> None:
    # imported here: the exporter costs memory and time that only those pay who use it
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    global _tracer, _provider
    shutdown()
    _provider = TracerProvider(resource=Resource.create({"service.name": service}))
    exporter = OTLPSpanExporter(endpoint=endpoint.rstrip("/") + "/v1/traces")
    _provider.add_span_processor(BatchSpanProcessor(exporter))
    _tracer = _provider.get_tracer("caseflow")


# Traces


def span(name: str, **attributes: Unpack[Attributes]) -> AbstractContextManager[None]:
    """A step worth measuring, part of the trace it runs in. An exception marks it as failed by its type."""
    return _NOTHING if _tracer is None else _recorded(_tracer, name, attributes)


@contextmanager
def _recorded(tracer: trace.Tracer, name: str, attributes: Attributes) -> Iterator[None]:
    options: dict[str, Any] = {"record_exception": False, "set_status_on_exception": False}  # both quote its text
    with tracer.start_as_current_span(name, attributes=_clean(attributes), **options) as current:
        try:
            yield
        except BaseException as error:
            current.set_attribute("error", type(error).__name__)
            current.set_status(StatusCode.ERROR)
            raise


@contextmanager
def continued(given: str | None, clock: Clock) -> Iterator[None]:
    """Be part of the trace that a traceparent names; of a new one when there is none or it is not one."""
    match = _TRACEPARENT.fullmatch(given or "")
    if match is None:
        sampled = TraceFlags.SAMPLED if clock.random() < _trace_share else TraceFlags.DEFAULT
        parts = clock.token_bytes(16), clock.token_bytes(8)
        trace_number, span_number = (int.from_bytes(part, "big") or 1 for part in parts)
    else:
        trace_number, span_number, sampled = (int(part, 16) for part in match.groups())
    parent = SpanContext(trace_number, span_number, is_remote=True, trace_flags=TraceFlags(sampled))
    token = context.attach(trace.set_span_in_context(NonRecordingSpan(parent)))
    try:
        yield
    finally:
        context.detach(token)


def traceparent() -> str | None:
    """Where we are, for events and headers; None outside a trace."""
    here = trace.get_current_span().get_span_context()
    return f"00-{here.trace_id:032x}-{here.span_id:016x}-{here.trace_flags:02x}" if here.is_valid else None


def trace_id() -> str | None:
    """The id of the trace we are in, as an operator looks it up; None outside a trace."""
    here = trace.get_current_span().get_span_context()
    return f"{here.trace_id:032x}" if here.is_valid else None


# Metrics


def counter(name: str, what: str, *labels: str) -> Counter:
    """A count that only grows; declare it once, at the top of the module that counts."""
    return Counter(name, what, _labels(name, labels), registry=_registry)


def gauge(name: str, what: str, *labels: str) -> Gauge:
    """A number that comes and goes, such as how far a read model lies behind."""
    return Gauge(name, what, _labels(name, labels), registry=_registry)


def histogram(name: str, what: str, *labels: str) -> Histogram:
    """Durations in seconds."""
    buckets = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
    return Histogram(name, what, _labels(name, labels), registry=_registry, buckets=buckets)


def metrics_text() -> bytes:
    """All metrics of this process in Prometheus text, of type METRICS_MEDIA_TYPE."""
    return generate_latest(_registry)


def _labels(name: str, labels: tuple[str, ...]) -> tuple[str, ...]:
    if strange := set(labels) - _LABELS:
        raise ValueError(
            f"metric {name} has labels {sorted(strange)}; a label has few values and no content: "
            f"use {', '.join(sorted(_LABELS))}"
        )
    return labels


# Logs


def debug(message: str, **attributes: Unpack[Attributes]) -> None:
    """Tell whoever looks for a fault."""
    _tell(logging.DEBUG, message, attributes)


def info(message: str, **attributes: Unpack[Attributes]) -> None:
    """Tell the operator. The message is a constant; whatever differs is an attribute."""
    _tell(logging.INFO, message, attributes)


def warn(message: str, **attributes: Unpack[Attributes]) -> None:
    """Tell the operator of something that someone should look at in time."""
    _tell(logging.WARNING, message, attributes)


def error(message: str, cause: BaseException | None = None, **attributes: Unpack[Attributes]) -> None:
    """Tell the operator of something that went wrong; of `cause` its type and places."""
    _tell(logging.ERROR, message, attributes, cause)


def _tell(level: int, message: str, attributes: Attributes, cause: BaseException | None = None) -> None:
    if _log.isEnabledFor(level):
        _log.log(level, message, exc_info=cause, extra={"attributes": _clean(attributes)})


def _clean(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value if isinstance(value, int | float) else text if _PLAIN.fullmatch(text := str(value)) else "?"
        for name, value in attributes.items()
        if name in _NAMES and value is not None
    }


class _Lines(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        ours = getattr(record, "attributes", None)
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": _service,
            "message": str(record.msg).partition("\n")[0][:MESSAGE_CHARS_MAX],  # of libraries: without arguments
            **(ours if ours is not None else {"logger": record.name}),
        }
        if (trace_number := trace_id()) is not None:
            line["trace"] = trace_number
        if suppressed := getattr(record, "suppressed", 0):
            line["suppressed"] = suppressed
        if record.exc_info and record.exc_info[0] is not None:
            line |= {"error": record.exc_info[0].__name__, "at": _places(record.exc_info[2])}
        return json.dumps(line, ensure_ascii=False)


class _Repeats(logging.Filter):
    """At most REPEATS_COUNT_MAX lines of one kind per window; the next window's first says how many were left out."""

    def __init__(self) -> None:
        super().__init__()
        self._kinds: OrderedDict[tuple[str, int, str], list[float]] = OrderedDict()  # began, told, suppressed

    def filter(self, record: logging.LogRecord) -> bool:
        kind = (record.name, record.levelno, str(record.msg)[:MESSAGE_CHARS_MAX])
        window = self._kinds.setdefault(kind, [record.created, 0, 0])
        self._kinds.move_to_end(kind)
        if len(self._kinds) > KINDS_COUNT_MAX:
            self._kinds.popitem(last=False)
        if record.created - window[0] >= REPEATS_WINDOW_S:
            record.suppressed = int(window[2])
            window[:] = [record.created, 0, 0]
        window[1] += 1
        if window[1] > REPEATS_COUNT_MAX:
            window[2] += 1
        return window[1] <= REPEATS_COUNT_MAX


def _places(stack: TracebackType | None) -> list[str]:
    frames = traceback.extract_tb(stack)[-FRAMES_COUNT_MAX:]
    return [f"{frame.filename.removeprefix(f'{_ROOT}/')}:{frame.lineno} {frame.name}" for frame in frames]


def _uncaught(kind: type[BaseException], value: BaseException, stack: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, value, stack)
        return
    logging.getLogger("caseflow").critical("the process ends", exc_info=(kind, value, stack), extra={"attributes": {}})
