from __future__ import annotations

import io
import json
import logging
import sys
import threading
import time
import warnings
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from shared.kit import telemetry
from shared.kit.runtime import Runtime
from shared.kit.settings import Settings
from shared.kit.telemetry import Telemetry
from shared.log.envelope import encode_event
from tests.support.clock import FakeClock
from tests.support.log import address, recorded

SECRET = "家住大坝村三组"
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What the process would have written to stderr; logging is as it was afterwards."""
    root, hooks = logging.getLogger(), (sys.excepthook, threading.excepthook, sys.unraisablehook, warnings.showwarning)
    handlers, level = root.handlers[:], root.level
    text = io.StringIO()
    telemetry.log_to(text, "intake", Settings().log_level)
    yield text
    root.handlers[:] = handlers
    root.setLevel(level)
    sys.excepthook, threading.excepthook, sys.unraisablehook, warnings.showwarning = hooks


@pytest.fixture
def own() -> Telemetry:
    """The traces and metrics of one process."""
    return Telemetry("intake")


@pytest.fixture
def spans(own: Telemetry) -> InMemorySpanExporter:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    own._tracer = provider.get_tracer("test")
    return exporter


def read(text: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.getvalue().splitlines()]


def test_a_line_is_json_with_service_trace_and_attributes_and_no_content(lines: io.StringIO, own: Telemetry) -> None:
    with own.continued(PARENT, FakeClock()):
        telemetry.info("registered", case="c-1", count=2, reason=SECRET)
        telemetry.warn("odd", title=SECRET)  # type: ignore[call-arg]
    told, odd = read(lines)
    assert (told["message"], told["service"], told["level"]) == ("registered", "intake", "info")
    assert (told["case"], told["count"], told["reason"]) == ("c-1", 2, "?")
    assert told["trace"] == PARENT.split("-")[1]
    assert "title" not in odd
    assert SECRET not in lines.getvalue()


def test_of_an_exception_type_and_places_are_told(lines: io.StringIO) -> None:
    try:
        raise LookupError(SECRET)
    except LookupError as cause:
        telemetry.error("lost", cause, case="c-1")
    (line,) = read(lines)
    assert line["error"] == "LookupError"
    assert "tests/unit/test_kit_telemetry.py:" in str(line["at"])
    assert SECRET not in lines.getvalue()


def test_facts_of_the_layers_below_are_attributes_and_no_content(lines: io.StringIO) -> None:
    facts = {"stream": "LOG_5101", "sequence": 7, "reason": SECRET, "title": SECRET}
    logging.getLogger("shared.log.consumers").warning("the log is read again", extra={"attributes": facts})
    (line,) = read(lines)
    assert (line["stream"], line["sequence"], line["reason"]) == ("LOG_5101", 7, "?")
    assert SECRET not in lines.getvalue()


def test_of_a_library_the_template_is_told(lines: io.StringIO) -> None:
    logging.getLogger("somelib").warning("cannot send %s", SECRET)
    logging.getLogger("asyncio").error("Task exception was never retrieved\nfuture: %s" % SECRET)  # noqa: UP031
    logging.getLogger("uvicorn.access").info(SECRET)
    assert [line["message"] for line in read(lines)] == ["cannot send %s", "Task exception was never retrieved"]
    assert SECRET not in json.dumps(read(lines), ensure_ascii=False)


def test_an_uncaught_exception_ends_in_one_line(lines: io.StringIO) -> None:
    try:
        raise LookupError(SECRET)
    except LookupError as error:
        sys.excepthook(LookupError, error, error.__traceback__)
    assert [(line["level"], line["error"]) for line in read(lines)] == [("critical", "LookupError")]


class Broken:
    def __del__(self) -> None:
        raise LookupError(SECRET)


@pytest.mark.filterwarnings("always")
def test_warnings_and_exceptions_without_a_caller_are_lines_too(lines: io.StringIO) -> None:
    def fail() -> None:
        raise KeyError(SECRET)

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    Broken()
    warnings.warn_explicit(SECRET, DeprecationWarning, "/usr/lib/library.py", 7)
    records = read(lines)
    assert [(line["level"], line.get("error") or line.get("reason")) for line in records] == [
        ("error", "KeyError"), ("error", "LookupError"), ("warning", "DeprecationWarning"),
    ]  # fmt: skip
    assert records[-1]["step"] == "library.py:7"
    assert SECRET not in lines.getvalue()


def test_repeats_are_limited_and_counted(lines: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(logging.time, "time", lambda: now)  # type: ignore[attr-defined]
    if hasattr(time, "time_ns"):
        monkeypatch.setattr(logging.time, "time_ns", lambda: int(now * 1e9))  # type: ignore[attr-defined]
    for _ in range(telemetry.REPEATS_COUNT_MAX + 5):
        telemetry.warn("again")
    telemetry.warn("another")
    now += telemetry.REPEATS_WINDOW_S
    telemetry.warn("again")
    records = read(lines)
    assert [line["message"] for line in records] == ["again"] * telemetry.REPEATS_COUNT_MAX + ["another", "again"]
    assert records[-1]["suppressed"] == 5


def test_a_trace_goes_on_or_begins_anew(own: Telemetry) -> None:
    assert telemetry.traceparent() is None
    with own.continued(PARENT, FakeClock()):
        assert telemetry.traceparent() == PARENT
    for given in (None, "", "00-" + "0" * 32 + "-00f067aa0ba902b7-01", SECRET):
        with own.continued(given, FakeClock(seed=1)):
            begun = telemetry.traceparent()
        with own.continued(given, FakeClock(seed=1)):
            assert telemetry.traceparent() == begun
        assert begun is not None
        assert begun != PARENT
    assert telemetry.trace_id() is None


def test_a_span_is_part_of_the_trace_and_fails_by_type_alone(own: Telemetry, spans: InMemorySpanExporter) -> None:
    with own.continued(PARENT, FakeClock()):
        with own.span("handle", event="case.registered", reason=SECRET):
            inside = telemetry.traceparent()
        with pytest.raises(LookupError), own.span("store"):
            raise LookupError(SECRET)
    handled, stored = spans.get_finished_spans()
    assert inside is not None
    assert inside.split("-")[1] == PARENT.split("-")[1]
    assert inside.split("-")[2] != PARENT.split("-")[2]
    assert dict(handled.attributes or {}) == {"event": "case.registered", "reason": "?"}
    assert (stored.status.status_code, stored.status.description) == (StatusCode.ERROR, None)
    assert SECRET not in handled.to_json() + stored.to_json()
    assert not stored.events


def test_without_an_exporter_a_span_costs_less_than_5_us(own: Telemetry) -> None:
    best = 1.0
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(2000):
            with own.span("handle", event="case.registered", count=1):
                pass
        best = min(best, (time.perf_counter() - began) / 2000)
    assert best < 5e-6


async def test_metrics_in_prometheus_text_and_labels_without_content() -> None:
    own = Telemetry.of("intake", Settings())
    answered = telemetry.counter("test_answered_total", "For this test", "outcome")
    own.add(answered, "ok", amount=3)
    own.observe(telemetry.histogram("test_took_seconds", "For this test"), 0.003)
    own.set(telemetry.gauge("test_behind", "For this test"), 7)
    text = (await own.metrics_text()).decode()
    assert 'test_answered_total{outcome="ok"} 3.0' in text
    assert 'test_took_seconds_bucket{le="0.005"} 1.0' in text
    assert "test_behind 7.0" in text
    assert "process_resident_memory_bytes" in text
    with pytest.raises(ValueError, match="test_bad_total has labels"):
        telemetry.counter("test_bad_total", "For this test", "case")


async def test_what_a_process_remembers_of_the_log_is_counted() -> None:
    runtime, data = Runtime.of(FakeClock()), encode_event(recorded(address(), "a"))
    for _ in range(3):
        runtime.event_decoder.event_at("LOG_5101", 1, data)
    text = (await runtime.telemetry.metrics_text()).decode()
    assert "caseflow_event_cache_hits 2.0" in text
    assert "caseflow_event_cache_misses 1.0" in text


async def test_each_process_counts_for_itself() -> None:
    metric = telemetry.counter("test_own_total", "For this test")
    one, other = Telemetry(), Telemetry()
    one.add(metric)
    assert "test_own_total 1.0" in (await one.metrics_text()).decode()
    assert "test_own_total" not in (await other.metrics_text()).decode()


def test_a_name_has_one_meaning() -> None:
    telemetry.counter("test_twice_total", "For this test")
    telemetry.counter("test_twice_total", "For this test")
    with pytest.raises(ValueError, match="test_twice_total is declared twice"):
        telemetry.counter("test_twice_total", "Something else")


async def test_figures_that_cost_a_question_are_asked_for_when_they_are_read() -> None:
    own, behind = Telemetry(), telemetry.gauge("test_asked_behind", "For this test")

    async def measure() -> None:
        own.set(behind, 12)

    async def broken() -> None:
        raise LookupError("the server is away")

    own.before_reading(broken)
    own.before_reading(measure)
    assert "test_asked_behind 12.0" in (await own.metrics_text()).decode()
