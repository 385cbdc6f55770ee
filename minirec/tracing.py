"""Traces by OpenTelemetry: from the request that starts a job to the commit of each of its units.

They are on where the extra `otel` is installed and the environment says where to send them, by OpenTelemetry's own
variables. Otherwise nothing of it is imported. No texts, rewards or keys are in them, and no messages of errors, which
may quote a client's rows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import structlog

from minirec import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
FLUSH_SECONDS = 3.0
"""How long a process that ends waits for its last spans to be sent."""

log = structlog.get_logger(__name__)
_provider: TracerProvider | None = None


def wanted() -> bool:
    """Tell whether the environment asks for traces."""
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    named = any(os.environ.get(name) for name in ENDPOINTS)
    return named and not disabled and os.environ.get("OTEL_TRACES_EXPORTER", "otlp") != "none"


def start(service: str) -> None:
    """Send the spans of this process from now on, if they are wanted. Threads are started: call it after a fork.

    service: its name in the traces, unless OTEL_SERVICE_NAME gives another.
    """
    global _provider
    if _provider is not None or not wanted():
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        log.warning("traces_unavailable", missing=error.name, remedy="pip install 'minirec[otel]'")
        return
    # What is given here comes before the environment.
    named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    own = {} if named else {"service.name": service}
    _provider = TracerProvider(resource=Resource.create({"service.version": __version__, **own}))
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))


def stop() -> None:
    """Send what is left, and start no more spans."""
    global _provider
    if _provider is not None:
        ended, _provider = _provider, None
        ended.force_flush(int(1e3 * FLUSH_SECONDS))
        ended.shutdown()


def is_on() -> bool:
    """Tell whether this process makes spans."""
    return _provider is not None


@contextmanager
def span(
    name: str,
    kind: Literal["server", "consumer"],
    *,
    parents: Sequence[str] = (),
    attributes: Mapping[str, str | int] | None = None,
) -> Iterator[Span | None]:
    """Make a span of what is done in the context; None where traces are off.

    Args:
        name: What is done.
        kind: Of the span.
        parents: `traceparent` headers of those that asked for it. The first is its parent, the others are linked.
        attributes: What is known of it beforehand.
    """
    if _provider is None:
        yield None
        return
    from opentelemetry.context import Context
    from opentelemetry.trace import Link, SpanKind, get_current_span
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    contexts = [TraceContextTextMapPropagator().extract({"traceparent": parent}, Context()) for parent in parents]
    with _provider.get_tracer("minirec", __version__).start_as_current_span(
        name,
        contexts[0] if contexts else Context(),
        kind=SpanKind.SERVER if kind == "server" else SpanKind.CONSUMER,
        attributes=attributes,
        links=[Link(get_current_span(context).get_span_context()) for context in contexts[1:]],
        record_exception=False,
        set_status_on_exception=False,
    ) as made:
        yield made


def fail(made: Span, code: str) -> None:
    """Mark a span as failed, with a word for why."""
    from opentelemetry.trace import Status, StatusCode

    made.set_status(Status(StatusCode.ERROR, code))


def fields() -> dict[str, str]:
    """Return what a job's record has of the current span, so that its units join the trace; nothing without one."""
    if _provider is None:
        return {}
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return {name: value for name, value in carrier.items() if name == "traceparent"}


def add_ids(_: Any, __: str, event: Any) -> Any:
    """Add the ids of the current span to a log line: a processor of structlog."""
    if _provider is not None:
        from opentelemetry.trace import get_current_span

        context = get_current_span().get_span_context()
        if context.is_valid:
            event |= {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
    return event
