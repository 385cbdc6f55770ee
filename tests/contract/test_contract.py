"""Chains of requests that follow from the OpenAPI document, against a real service: `make contract-test EXAMPLES=2000`.

Each example is a chain: what an answer brings (an id, a cursor) goes into the requests behind it. Half of the ids that
are made up are exchanged for those of a dataset and of finished jobs, and half of the bodies that fit the document for
some that name what is there; or else nothing would be found, and nothing started.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import FlakyStrategyDefinition
from hypothesis.stateful import run_state_machine_as_test
from schemathesis import GenerationMode, checks
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok

from minirec.settings import Settings
from minirec.store import Store, connect
from tests.api.conftest import KEY, evaluation_body, selection_body, training_body
from tests.api.processes import running_service
from tests.api.stand_in import EvaluationStandIn, StandIn, TrainingStandIn
from tests.api.test_openapi import CHECKS, is_dataset_id
from tests.builders import write_files

EXAMPLES = os.environ.get("MINIREC_CONTRACT_TEST", "")
ROUND = settings(
    max_examples=100,
    stateful_step_count=6,
    phases=[Phase.generate],
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
ENOUGH = 500
"""Examples that come to most operations."""
ID = r"[a-z]+_[0-9a-z]{1,40}"
STARTS: dict[str, tuple[Any, Any]] = {
    "selections": (selection_body, StandIn),
    "training_jobs": (training_body, TrainingStandIn),
    "evaluations": (evaluation_body, EvaluationStandIn),
}
"""Of each kind of job, a body that the service takes, and what then does the worker's part."""

pytestmark = pytest.mark.skipif(not EXAMPLES, reason="takes long: run `make contract-test`")


class Resources:
    """A dataset and a finished job of each kind, made again when a chain has deleted them."""

    def __init__(self, address: str, store: Store, files: tuple[Path, Path]) -> None:
        self.http = httpx2.Client(base_url=address, headers={"Authorization": f"Bearer {KEY}"}, timeout=60)
        self.store = store
        self.files = files
        self.ids: dict[str, str] = {}

    def of(self, name: str) -> str | None:
        """Return the id that a parameter of this name may have; None for one of another kind."""
        if name == "dataset_id":
            if not self._is_there("datasets", name):
                self.ids = {name: self._upload()}
            return self.ids[name]
        kind = f"{name.removesuffix('_id')}s"
        if kind not in STARTS:
            return None
        dataset_id = self.of("dataset_id")
        if not self._is_there(kind, name):
            body, stand_in = STARTS[kind]
            made = self.http.post(f"/v1/{kind}", json=body(dataset_id))
            assert made.status_code == 202, made.text
            self.ids[name] = made.json()["id"]
            stand_in(self.store, self.ids[name]).finish()
        return self.ids[name]

    def body(self, path: str, body: Any) -> Any:
        """Return a body that the service takes at a path, with ids of what is there; else the given one."""
        if path == "/v1/datasets":
            return {"samples": self.files[0].read_text(), "items": self.files[1].read_text(), "name": "chained"}
        kind = path.removeprefix("/v1/")
        return STARTS[kind][0](self.of("dataset_id")) if kind in STARTS else body

    def _is_there(self, kind: str, name: str) -> bool:
        return name in self.ids and self.http.get(f"/v1/{kind}/{self.ids[name]}").status_code == 200

    def _upload(self) -> str:
        with self.files[0].open("rb") as samples, self.files[1].open("rb") as items:
            made = self.http.post("/v1/datasets", files={"samples": samples, "items": items})
        assert made.status_code == 201, made.text
        return str(made.json()["id"])


@pytest.fixture(scope="module")
def resources(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Resources]:
    """A service with one key, on a real server."""
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    folder = tmp_path_factory.mktemp("service")
    settings = Settings(redis_url=redis_url, blob_url=(folder / "blobs").as_uri(), api_keys=(KEY,))
    with running_service(settings, folder / "log") as address:
        yield Resources(address, connect(settings, ring=lambda doorbells: None), write_files(folder))


def fits(case: schemathesis.Case[Any]) -> bool:
    """Return whether a request was made to fit the document."""
    return case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE


def ask(operation: Any, client: Any) -> None:
    """Send requests to one operation, apart from any chain."""

    @given(case=st.one_of(*(operation.as_strategy(mode) for mode in GenerationMode)))
    @settings(ROUND, max_examples=25, derandomize=True)
    def one(case: schemathesis.Case[Any]) -> None:
        client.before_call(case)
        client.recorder.record_case(case=case)
        response = case.call(**client.get_call_kwargs(case))
        client.after_call(response, case)
        client.validate_response(response, case)

    one()


def test_chains_of_requests_are_answered_as_announced(resources: Resources) -> None:
    document = schemathesis.openapi.from_url(f"{resources.http.base_url}/openapi.json")
    seen: Counter[tuple[str, int]] = Counter()
    chains: Counter[str] = Counter()
    faults: dict[str, str] = {}
    base: Any = document.as_state_machine()

    class Chain(base):  # type: ignore[misc]
        """A client that goes on with what it is told."""

        def setup(self) -> None:
            chains["begun"] += 1

        def before_call(self, case: schemathesis.Case[Any]) -> None:
            # By what the case is: the same example does the same again.
            known = len(repr((case.path_parameters, case.body))) % 2 == 0
            for name, value in (case.path_parameters or {}).items():
                if known and re.fullmatch(ID, str(value)) and (found := resources.of(name)) is not None:
                    case.path_parameters[name] = found
            if known and case.operation.method == "post" and fits(case):
                case.body = resources.body(case.operation.path, case.body)
            if isinstance(case.body, dict) and is_dataset_id(case.body.get("dataset_id")):
                case.body["dataset_id"] = resources.of("dataset_id")
            if isinstance(case.query.get("wait"), int | float):
                case.query["wait"] = min(case.query["wait"], 0.01)

        def get_call_kwargs(self, case: schemathesis.Case[Any]) -> dict[str, Any]:
            return {"headers": {"Authorization": f"Bearer {KEY}"}}

        def after_call(self, response: schemathesis.Response, case: schemathesis.Case[Any]) -> None:
            super().after_call(response, case)
            seen[(f"{case.operation.method.upper()} {case.operation.path}", response.status_code)] += 1

        def validate_response(
            self, response: schemathesis.Response, case: schemathesis.Case[Any], **options: Any
        ) -> None:
            wanted = [*CHECKS, checks.use_after_free, checks.ensure_resource_availability]
            try:
                case.validate_response(
                    response, checks=wanted, headers={"Authorization": f"Bearer {KEY}"}, recorder=self.recorder
                )
            except FailureGroup as group:
                # Not raised here: on a service that remembers, the same chain again is another one, and cannot shrink.
                for failure in group.exceptions:
                    what = f"{case.operation.method.upper()} {case.operation.path}: {failure}"
                    if what not in faults:
                        faults[what] = case.as_curl_command() + f"\n{response.status_code} {response.content[:2000]!r}"
                        sys.stdout.write(f"{what}\n{faults[what]}\n")

    rounds = 0
    while chains.total() < int(EXAMPLES):
        seed(rounds)(Chain)
        # A service that remembers answers differently the second time, so that a round may end early.
        with suppress(FlakyStrategyDefinition):
            run_state_machine_as_test(Chain, settings=ROUND)
        rounds += 1
        sys.stdout.write(f"{chains.total()} chains, {seen.total()} requests, {len(faults)} kinds of faults\n")
        sys.stdout.flush()
    # What no answer leads to is in no chain.
    asked = {operation for operation, _ in seen}
    operation: Any
    for operation in (found.ok() for found in document.get_all_operations() if isinstance(found, Ok)):
        if f"{operation.method.upper()} {operation.path}" not in asked:
            ask(operation, Chain())
    lines = [f"{times:6} {status} {operation}" for (operation, status), times in sorted(seen.items())]
    sys.stdout.write("\n".join([f"{chains.total()} chains of {seen.total()} requests", *lines, ""]))
    assert not faults, "\n\n".join(f"{what}\n{how}" for what, how in faults.items())
    operations = {operation for operation, _ in seen}
    answered = {operation for operation, status in seen if status < 400}
    if int(EXAMPLES) >= ENOUGH:
        assert len(operations) > 40, "most operations are asked"
        assert len(answered) > 30, "and many of them have something to answer"
