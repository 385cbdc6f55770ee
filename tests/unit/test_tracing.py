"""Traces are off, and cost no import, until the environment asks for them; then a missing extra is said."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from minirec import tracing

SEND = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
START = "from minirec import tracing; tracing.start('x'); import sys; "
LOADED = "print(tracing.is_on(), 'opentelemetry.sdk' in sys.modules)"


def said(code: str, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=clean | environment, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize(
    ("environment", "on"),
    [
        ({}, False),
        (SEND, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/v1/traces"}, True),
        (SEND | {"OTEL_SDK_DISABLED": "true"}, False),
        (SEND | {"OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
    ],
)
def test_traces_are_on_where_the_environment_says_where_to_send_them(environment: dict[str, str], on: bool) -> None:
    assert said(START + LOADED, **environment).split() == [str(on), str(on)]


def test_an_extra_that_is_missing_is_said_and_stops_nothing() -> None:
    missing = "import sys; sys.modules['opentelemetry.sdk'] = None; "
    printed = said(missing + START + "print(tracing.is_on())", **SEND)
    assert "traces_unavailable" in printed
    assert "pip install 'minirec[otel]'" in printed
    assert printed.split()[-1] == "False"


def test_without_traces_nothing_is_made() -> None:
    with tracing.span("work", "consumer", parents=["no traceparent"], attributes={"a": 1}) as made:
        assert made is None
    assert tracing.fields() == {}
    assert tracing.add_ids(None, "", {"event": "x"}) == {"event": "x"}
    tracing.stop()
