"""The choice of a rollout engine: what it names anew, and what becomes of a selection whose workers lack it."""

from __future__ import annotations

import sys

import pytest

from minirec.api_schemas import SelectionCreate
from minirec.api_schemas.selections import PoolSettings
from minirec.settings import Settings
from minirec.specs import PinnedModel
from minirec.specs.selection import PoolOfRows
from minirec.worker.plan import Plan, plan_selection
from tests.worker.bench import Bench

POOL = PoolOfRows(content_hash="c", rows="r", pool=PoolSettings())
MODEL = PinnedModel(source="local", id="m", revision="v", dtype="float32")


def plan(engine: str) -> Plan:
    body = {"dataset_id": "ds_1", "model": {"source": "local", "id": "m"}, "size": 4, "proxy": {}}
    request = SelectionCreate.model_validate(body | {"rollouts": {"engine": engine}})
    return plan_selection("sel_1", request, POOL, MODEL, Settings())


def test_scores_of_two_engines_are_kept_apart_and_share_their_proxy_and_catalogue() -> None:
    transformers, vllm = plan("transformers"), plan("vllm")
    assert transformers.score.name != vllm.score.name
    assert (transformers.proxy, transformers.catalogue) == (vllm.proxy, vllm.catalogue)


def test_a_selection_whose_worker_has_no_vllm_says_so_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    job = bench.create(rollouts={"engine": "vllm", "max_new_tokens": 4})
    bench.hear()
    record = bench.store.jobs.get(job)
    assert record.status == "failed"
    assert record.json("error")["code"] == "engine_unavailable"
    assert "pip install 'minirec[worker,vllm]'" in record.json("error")["message"]
