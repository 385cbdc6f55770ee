"""What is given to operators to watch the service fits the metrics that it has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from minirec.api_schemas import Worker
from minirec.store.counters import SAMPLES, UNIT_SECONDS, UNITS
from tests.api.conftest import Service

ROOT = Path(__file__).parents[2]
ALERTS = yaml.safe_load((ROOT / "deploy/prometheus/minirec.rules.yml").read_text())["groups"][0]["rules"]
PANELS = json.loads((ROOT / "deploy/grafana/minirec.json").read_text())["panels"]


COUNTED = [(UNITS, "score", "committed"), (UNIT_SECONDS, "score"), (SAMPLES, "score")]
GPU = Worker(
    name="host/7", queues=["gpu"], version="1", started_at=1, gpu="H100", gpu_memory_used_bytes=1, gpu_memory_bytes=2
)


@pytest.fixture
def metrics(service: Service) -> dict[str, set[str]]:
    """The names of the labels of every metric that the service has, by the metric's name."""
    service.store.counters.add(dict.fromkeys(COUNTED, 1.0))
    service.store.workers.report(GPU)
    service.http.get("/version")
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(service.http.get("/metrics").text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def selectors(expression: Any) -> list[Any]:
    """Return the metrics that an expression reads, wherever they stand in it."""
    if isinstance(expression, promql_parser.VectorSelector):
        return [expression]
    if isinstance(expression, promql_parser.MatrixSelector):
        return [expression.vector_selector]
    parts = [getattr(expression, name) for name in ("lhs", "rhs", "expr", "args") if hasattr(expression, name)]
    return [found for part in parts for one in (part if isinstance(part, list) else [part]) for found in selectors(one)]


SCALED = list(yaml.safe_load_all((ROOT / "deploy/kubernetes/autoscaling.yaml").read_text()))
EXPRESSIONS = [rule["expr"] for rule in ALERTS] + [target["expr"] for panel in PANELS for target in panel["targets"]]
EXPRESSIONS += [trigger["metadata"]["query"] for one in SCALED for trigger in one["spec"]["triggers"]]


def test_expressions_read_metrics_that_exist(metrics: dict[str, set[str]]) -> None:
    for text in EXPRESSIONS:
        read = selectors(promql_parser.parse(text))
        assert read, text
        for selector in read:
            assert selector.name in metrics, text
            assert {matcher.name for matcher in selector.matchers.matchers} <= metrics[selector.name], text


def test_every_metric_is_shown(metrics: dict[str, set[str]]) -> None:
    shown = {selector.name for text in EXPRESSIONS for selector in selectors(promql_parser.parse(text))}
    left = {name for name in metrics if not name.endswith(("_created", "_sum"))} - shown
    assert not left


def test_alerts_say_what_happened_and_what_to_do() -> None:
    for rule in ALERTS:
        assert set(rule["annotations"]) == {"summary", "action"}, rule["alert"]
        assert rule["labels"]["severity"] in ("critical", "warning")
