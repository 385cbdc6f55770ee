"""The whole pool is tried out before a GPU is taken, and what does not fit is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minirec.api_schemas import Dataset
from minirec.data.ingest import ingest, ingest_prompts
from minirec.policy.tiny import CHAT_TEMPLATE
from minirec.specs import CheckSpec
from minirec.store.ids import new_id
from minirec.store.names import prompts_blob
from minirec.worker import check_pool
from minirec.worker.catalogue import load_catalogue
from minirec.worker.groups import spec_of_group
from tests.builders import write_files
from tests.worker.bench import Bench

USER = {"role": "user", "content": "What is 1 + 1?"}
ALTERNATE = (
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% endfor %}"
)
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
Rows = list[dict[str, Any]]


def upload_prompts(bench: Bench, folder: Path, rows: Rows) -> None:
    file = folder / "given.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = ingest_prompts(file, folder)
    bench.store.blobs.put_file(prompts_blob(done.content_hash), done.path)
    dataset = Dataset(
        id=new_id("ds"),
        kind="prompts",
        created_at=0,
        n_samples=done.n_prompts,
        n_items=0,
        n_users=0,
        splits=done.splits,
        content_hash=done.content_hash,
    )
    bench.store.datasets.put(dataset)
    bench.dataset_id = dataset.id


def some_too_long(count: int = 3) -> Rows:
    rows = [{"id": f"q{n}", "prompt": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(12)]
    for n in range(count):
        rows[3 * n + 1]["prompt"] = "word " * 3000
    return rows


def create(bench: Bench, **changes: Any) -> str:
    given: dict[str, Any] = {"rewards": [{"name": "token_f1"}], "size": 4}
    return bench.create(**given | changes)


def error_of(bench: Bench, job: str) -> dict[str, Any]:
    error: dict[str, Any] = bench.store.jobs.get(job).json("error")
    return error


@pytest.fixture
def own_model(models_dir: Path) -> Callable[[str], dict[str, str]]:
    """Makes the tiny model with another chat template."""

    def make(template: str) -> dict[str, str]:
        name = f"tiny-{abs(hash(template))}"
        shutil.copytree(models_dir / "tiny", models_dir / name, dirs_exist_ok=True)
        (models_dir / name / "chat_template.jinja").write_text(template)
        return {"source": "local", "id": name}

    return make


def test_prompts_that_are_too_long_are_left_out_and_named(bench: Bench, tmp_path: Path) -> None:
    upload_prompts(bench, tmp_path, some_too_long())
    job = create(bench)
    assert set(bench.hear()) == {"committed"}
    columns, record = bench.result(job), bench.store.jobs.get(job)
    result = record.json("result")
    assert result["pool_size"] == len(columns["row"]) == 9
    assert not np.isin([1, 4, 7], columns["row"]).any()
    assert result["left_out"] == 3
    left_out = result["too_long"]
    assert (left_out["samples"], left_out["sample_ids"]) == (3, ["q1", "q4", "q7"])
    assert "the prompt of sample 'q1' has 15" in left_out["reason"]
    assert "3 of the pool's 12 prompts are too long" in result["warnings"][0]
    warned = [event.data["message"] for event in bench.store.events.read(job) if event.type == "warning"]
    assert [message for message in warned if "too long" in message] == [result["warnings"][0]], "once, and early"


def test_a_pool_is_checked_once(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upload_prompts(bench, tmp_path, some_too_long())
    create(bench)
    bench.hear()
    monkeypatch.setattr(check_pool, "run_preflight", lambda *_, **__: pytest.fail("tried out again"))
    again = create(bench, size=6)
    assert bench.hear() == ["committed", "committed"], "preparing and selecting"
    assert bench.store.jobs.get(again).json("result")["too_long"]["samples"] == 3


def test_a_large_pool_is_checked_in_parts(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CheckSpec, "SHARD_SIZE", 5)
    upload_prompts(bench, tmp_path, some_too_long())
    job = create(bench)
    assert set(bench.hear()) == {"committed"}
    result = bench.store.jobs.get(job).json("result")
    assert (result["pool_size"], result["too_long"]["sample_ids"]) == (9, ["q1", "q4", "q7"])
    units, _ = spec_of_group(bench.store, CheckSpec, check_of(bench, job))
    assert units == 3


def check_of(bench: Bench, job: str) -> str:
    """The name of a selection's check."""
    stages = [json.loads(stage) for stage in bench.store.redis.lrange(f"{bench.store.prefix}job:{job}:stages", 0, -1)]
    return next(str(stage["group"]).split(":")[1] for stage in stages if stage["name"] == "checking")


def test_where_they_are_to_fail_all_are_named(bench: Bench, tmp_path: Path) -> None:
    upload_prompts(bench, tmp_path, some_too_long())
    job = create(bench, pool={"too_long": "fail"})
    assert bench.hear() == ["committed", "committed", "failed"]
    error = error_of(bench, job)
    assert (error["code"], error["sample_ids"], error["samples"]) == ("prompt_too_long", ["q1", "q4", "q7"], 3)
    assert "3 of 12 samples: the prompt of sample 'q1' has" in error["message"]


def test_training_leaves_nothing_out(bench: Bench, tmp_path: Path) -> None:
    upload_prompts(bench, tmp_path, some_too_long())
    args = {"rewards": [{"name": "token_f1"}], "rollouts": {"group_size": 2, "max_new_tokens": 6}}
    job = bench.train(trainer="text_grpo", ids=["q0", "q1", "q2", "q4"], args=args)
    assert bench.hear() == ["failed"]
    error = error_of(bench, job)
    assert (error["code"], error.get("sample_ids")) == ("prompt_too_long", ["q1", "q4"])


def test_turns_that_the_template_refuses_are_named_at_once(
    bench: Bench, tmp_path: Path, own_model: Callable[[str], dict[str, str]]
) -> None:
    rows: Rows = [{"id": f"q{n}", "prompt": [USER, USER] if n in (2, 5) else "Hi", "answer": "2"} for n in range(8)]
    upload_prompts(bench, tmp_path, rows)
    job = create(bench, model=own_model(ALTERNATE + CHAT_TEMPLATE))
    assert bench.hear() == ["committed", "committed", "failed"]
    error = error_of(bench, job)
    assert (error["code"], error["sample_ids"], error["samples"]) == ("invalid_sample", ["q2", "q5"], 2)
    assert "of sample 'q2' (user, user): roles must alternate" in error["message"]


def test_a_system_turn_that_the_template_refuses_is_moved(
    bench: Bench, tmp_path: Path, own_model: Callable[[str], dict[str, str]]
) -> None:
    system = {"role": "system", "content": "Be short."}
    rows: Rows = [{"id": f"q{n}", "prompt": [system, USER], "answer": "2"} for n in range(8)]
    upload_prompts(bench, tmp_path, rows)
    job = create(bench, model=own_model(NO_SYSTEM + CHAT_TEMPLATE))
    assert set(bench.hear()) == {"committed"}
    assert bench.result(job)["rewards"].shape == (8, 2)


def test_a_model_that_cannot_be_used_is_refused_before_it_runs(
    bench: Bench, own_model: Callable[[str], dict[str, str]]
) -> None:
    job = bench.create(model=own_model("{{ messages[0].nothing.at_all }}"))
    assert bench.hear() == ["committed", "failed"]
    error = error_of(bench, job)
    assert (error["code"], error["stage"]) == ("model_unusable", "checking")
    assert "cannot write a user's turn" in error["message"]


def test_items_that_read_the_same_tie_whatever_shard_they_are_in(bench: Bench, tmp_path: Path) -> None:
    samples, items = write_files(tmp_path)
    rows = [json.loads(line) for line in items.read_text().splitlines()]
    for copy, original in ((20, 3), (39, 3), (21, 5), (6, 5)):
        rows[copy] = rows[original] | {"item_id": rows[copy]["item_id"]}
    items.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = ingest(samples, items, tmp_path)
    for name, path in (("samples", done.samples_path), ("items", done.items_path)):
        bench.store.blobs.put_file(f"datasets/{done.content_hash}/{name}.parquet", path)
    record = bench.store.datasets.get(bench.dataset_id)
    bench.store.datasets.put(record.model_copy(update={"content_hash": done.content_hash}))
    job = bench.create()
    assert set(bench.hear()) == {"committed"}
    name = bench.store.jobs.get(job).json("provenance")["catalogue_fingerprint"]
    vectors = load_catalogue(bench.store, name)
    for copy, original in ((20, 3), (39, 3), (21, 5), (6, 5)):
        np.testing.assert_array_equal(vectors[copy], vectors[original])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    assert len(np.unique(vectors, axis=0)) == 36


def test_the_record_says_whose_tokenizer_wrote_the_prompts(bench: Bench, models_dir: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(models_dir / "tiny")
    get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(models_dir / "lora")
    (models_dir / "lora" / "chat_template.jinja").write_text("<|im_start|>{{ messages[0]['content'] }}")
    adapter = {"source": "local", "id": "lora"}
    jobs = [bench.create(), bench.create(model={"source": "local", "id": "tiny", "adapter": adapter})]
    assert set(bench.hear()) == {"committed"}
    facts = [bench.store.jobs.get(job).json("provenance") for job in jobs]
    assert [(fact["tokenizer"], fact["chat_template"]) for fact in facts] == [("model", "model"), ("model", "adapter")]
    assert not np.allclose(bench.result(jobs[0])["rewards"], bench.result(jobs[1])["rewards"])
