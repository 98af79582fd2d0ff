"""Traces, metrics and log lines of the program; never a word of content.

The list `Attributes` names all that may stand in them: facts in the open and no more. A value that does not look like a
code, an id or a number becomes "?". An exception is named by its type and its places, since its text may quote a value;
a log line of a library by its template, without its arguments.

Traces and metrics belong to a process (`Telemetry`, in its runtime value). Log lines go through the `logging` of the
standard library, which is one for the interpreter. Traces leave the process only when `otlp_endpoint` is set; else a
span costs next to nothing, and trace ids still run through requests, events and log lines (W3C Trace Context).
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
import threading
import traceback
import warnings
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
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
MEASURE_S_MAX = 2.0
BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_PLAIN = re.compile(r"[A-Za-z0-9_.:/@{}+ -]{0,160}")
_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_ROOT = Path(__file__).parents[2]


class Attributes(TypedDict, total=False):
    """All that may stand in a trace, a log line or a metric's labels. Add a name here only for what is no content."""

    service: str
    case: str
    event: str
    type: str
    stream: str
    sequence: int
    reaction: str
    document: str
    method: str
    step: str
    reason: str
    attempts: int
    count: int


_NAMES = frozenset(Attributes.__annotations__)
# Labels of metrics: names with few values only, since each combination is a series of its own.
_LABELS = frozenset({
    "service", "type", "stream", "model", "reaction", "route", "method", "outcome", "status", "reason",
})  # fmt: skip

_NOTHING: AbstractContextManager[None] = nullcontext()
_log = logging.getLogger("caseflow")


def log_to(stream: TextIO, service: str, level: str) -> None:
    """Write the log lines of this interpreter as JSON to `stream`, each with the name of the service."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Lines(service))
    handler.addFilter(_Repeats())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
    for name in ("uvicorn.access", "nats", "httpx", "httpcore", "asyncio", "faststream"):  # requests are counted by us
        logging.getLogger(name).setLevel(logging.WARNING)
    sys.excepthook = _uncaught
    threading.excepthook = lambda uncaught: _unheard(uncaught.exc_value)
    sys.unraisablehook = lambda uncaught: _unheard(uncaught.exc_value)
    warnings.showwarning = _warned


# Metrics are declared where they are counted, once; each process counts them for itself.


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric as it is declared: its kind, its name in Prometheus, its meaning and its labels."""

    kind: type[Counter] | type[Gauge] | type[Histogram]
    name: str
    meaning: str
    labels: tuple[str, ...]


METRICS: dict[str, Metric] = {}  # every metric of the product by name, in the order of declaration


def counter(name: str, meaning: str, *labels: str) -> Metric:
    """Declare a count that only grows, at the top of the module that counts."""
    return _declared(Metric(Counter, name, meaning, labels))


def gauge(name: str, meaning: str, *labels: str) -> Metric:
    """Declare a number that comes and goes, such as how far a read model lies behind."""
    return _declared(Metric(Gauge, name, meaning, labels))


def histogram(name: str, meaning: str, *labels: str) -> Metric:
    """Declare a distribution of durations in seconds."""
    return _declared(Metric(Histogram, name, meaning, labels))


def _declared(metric: Metric) -> Metric:
    if strange := set(metric.labels) - _LABELS:
        raise ValueError(
            f"metric {metric.name} has labels {sorted(strange)}; a label has few values and no content: "
            f"use {', '.join(sorted(_LABELS))}"
        )
    if METRICS.setdefault(metric.name, metric) != metric:
        raise ValueError(f"metric {metric.name} is declared twice; give one of them another name")
    return metric


OPEN_STREAMS = gauge("caseflow_open_streams", "Event streams that somebody listens to", "type")
BEHIND = gauge(
    "caseflow_behind_events", "Events of a log stream that a follower has still before it", "model", "stream"
)


class Telemetry:
    """The traces and metrics of one process.

    Without an endpoint no trace leaves the process. `trace_share` is the share of traces that begin here and are
    recorded, from 0 to 1.
    """

    def __init__(self, service: str = "", *, trace_share: float = 1.0, otlp_endpoint: str | None = None) -> None:
        self._trace_share = trace_share
        self._registry = CollectorRegistry()
        self._families: dict[str, Any] = {}
        self._series: dict[tuple[str, tuple[str, ...]], Any] = {}
        self._measures: list[Callable[[], Awaitable[None]]] = []
        self._provider = _exporting(service, otlp_endpoint) if otlp_endpoint else None
        self._tracer = self._provider.get_tracer("caseflow") if self._provider else None

    @classmethod
    def of(cls, service: str, settings: Settings) -> Telemetry:
        """The telemetry of a process of its own, with the memory and processor time that the system counts."""
        made = cls(service, trace_share=settings.trace_share, otlp_endpoint=settings.otlp_endpoint)
        ProcessCollector(registry=made._registry)
        return made

    def shutdown(self) -> None:
        """Send what is not sent yet and stop tracing."""
        if self._provider is not None:
            self._provider.shutdown()
        self._tracer = self._provider = None

    def add(self, metric: Metric, *labels: str, amount: float = 1) -> None:
        """Count; the labels in the order of the declaration."""
        self._of(metric, labels).inc(amount)

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        """State the present value of a gauge."""
        self._of(metric, labels).set(value)

    def observe(self, metric: Metric, seconds: float, *labels: str) -> None:
        """Enter one duration."""
        self._of(metric, labels).observe(seconds)

    def _of(self, metric: Metric, labels: tuple[str, ...]) -> Any:
        key = metric.name, labels
        series = self._series.get(key)
        if series is None:
            family = self._families.get(metric.name) or self._family(metric)
            series = self._series[key] = family.labels(*labels) if metric.labels else family
        return series

    def _family(self, metric: Metric) -> Any:
        options: dict[str, Any] = {"buckets": BUCKETS_S} if metric.kind is Histogram else {}
        family = metric.kind(metric.name, metric.meaning, metric.labels, registry=self._registry, **options)
        self._families[metric.name] = family
        return family

    def before_reading(self, measure: Callable[[], Awaitable[None]]) -> None:
        """Have gauges set by `measure` whenever somebody reads the metrics: for figures that cost a question."""
        self._measures.append(measure)

    async def metrics_text(self) -> bytes:
        """All metrics of this process in Prometheus text, of type METRICS_MEDIA_TYPE.

        A measure that fails or takes longer than MEASURE_S_MAX leaves its gauges as they were.
        """
        await asyncio.gather(*map(_measured, self._measures))
        return generate_latest(self._registry)

    def span(self, name: str, **attributes: Unpack[Attributes]) -> AbstractContextManager[None]:
        """A step worth measuring, part of the trace it runs in. An exception marks it as failed by its type."""
        return _NOTHING if self._tracer is None else _recorded(self._tracer, name, attributes)

    @contextmanager
    def continued(self, given: str | None, clock: Clock) -> Iterator[None]:
        """Be part of the trace that a traceparent names; of a new one when there is none or it is not one."""
        match = _TRACEPARENT.fullmatch(given or "")
        if match is None:
            sampled = TraceFlags.SAMPLED if clock.random() < self._trace_share else TraceFlags.DEFAULT
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


async def _measured(measure: Callable[[], Awaitable[None]]) -> None:
    try:
        async with asyncio.timeout(MEASURE_S_MAX):
            await measure()
    except Exception as failure:  # a server that does not answer must not hide the other figures
        warn("a gauge could not be measured", reason=type(failure).__name__)


def _exporting(service: str, endpoint: str) -> TracerProvider:
    # imported here: the exporter costs memory and time that only those pay who use it
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    exporter = OTLPSpanExporter(endpoint=endpoint.rstrip("/") + "/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


# Traces


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


def traceparent() -> str | None:
    """Where we are, for events and headers; None outside a trace."""
    here = trace.get_current_span().get_span_context()
    return f"00-{here.trace_id:032x}-{here.span_id:016x}-{here.trace_flags:02x}" if here.is_valid else None


def trace_id() -> str | None:
    """The id of the trace we are in, as an operator looks it up; None outside a trace."""
    here = trace.get_current_span().get_span_context()
    return f"{here.trace_id:032x}" if here.is_valid else None


# Logs


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
        _log.log(level, message, exc_info=cause, extra={"attributes": attributes})


def _clean(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value if isinstance(value, int | float) else text if _PLAIN.fullmatch(text := str(value)) else "?"
        for name, value in attributes.items()
        if name in _NAMES and value is not None
    }


class _Lines(logging.Formatter):
    """One JSON object per line."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        ours = getattr(record, "attributes", None)  # of shared/log too, which knows no telemetry
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": self._service,
            "message": str(record.msg).partition("\n")[0][:MESSAGE_CHARS_MAX],  # of libraries: without arguments
            **(_clean(ours) if ours is not None else {"logger": record.name}),
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


def _unheard(error: BaseException | None) -> None:
    """An exception that no caller can catch: of a thread, or of an object as it is removed."""
    _tell(logging.ERROR, "an exception had no caller", {}, error)


def _warned(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning of Python or of a library: its kind and its place, without its text."""
    _tell(logging.WARNING, "a library warns", {"reason": category.__name__, "step": f"{Path(filename).name}:{lineno}"})


def _uncaught(kind: type[BaseException], value: BaseException, stack: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, value, stack)
        return
    logging.getLogger("caseflow").critical("the process ends", exc_info=(kind, value, stack), extra={"attributes": {}})
