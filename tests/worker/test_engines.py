"""The choice of a rollout engine: what it names anew, and what becomes of a selection whose workers lack it."""

from __future__ import annotations

import sys

import pytest

from api_schemas import SelectionCreate
from tests.worker.bench import Bench
from worker import plan

BASIS = plan.Basis(content_hash="c", rows="r", model={}, model_fingerprint="m", prompt="p")


def names(engine: str) -> plan.Names:
    body = {"dataset_id": "ds_1", "model": {"source": "local", "id": "m"}, "size": 4, "proxy": {}}
    return plan.names(SelectionCreate.model_validate(body | {"rollouts": {"engine": engine}}), BASIS)


def test_scores_of_two_engines_are_kept_apart_and_share_their_proxy_and_catalogue() -> None:
    transformers, vllm = names("transformers"), names("vllm")
    assert transformers.scoring != vllm.scoring
    assert (transformers.proxy, transformers.catalogue) == (vllm.proxy, vllm.catalogue)


def test_a_selection_whose_worker_has_no_vllm_says_so_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    job = bench.create(rollouts={"engine": "vllm", "max_new_tokens": 4})
    bench.hear()
    record = bench.store.jobs.get(job)
    assert record.status == "failed"
    assert record.json("error")["code"] == "engine_unavailable"
    assert "pip install 'minirec[worker,vllm]'" in record.json("error")["message"]
