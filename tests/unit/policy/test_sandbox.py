"""A model and a pool are tried out in a process of their own: what is found, and what cannot hold anybody up."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minirec.api_schemas.models import ModelReference
from minirec.data.dataset import Dataset
from minirec.data.ingest import ingest, ingest_prompts
from minirec.policy.reference import ModelRefused, resolve
from minirec.policy.sandbox import PoolData, Preflight, run_preflight
from minirec.policy.tiny import CHAT_TEMPLATE
from tests.builders import write_files
from tests.unit.policy.files import change_json

pytestmark = pytest.mark.slow

GROW = "{% set ns = namespace(x='ab') %}{% for i in range(40) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}"
LOOP = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}x"
ALTERNATE = (
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% endfor %}"
)


@pytest.fixture
def root(tmp_path: Path, models_root: Path) -> Path:
    shutil.copytree(models_root / "tiny", tmp_path / "models" / "tiny")
    return tmp_path / "models"


def template(root: Path, text: str) -> None:
    (root / "tiny" / "chat_template.jinja").write_text(text)


@pytest.fixture
def prompts(tmp_path: Path) -> PoolData:
    """Three that fit, one too long, one whose roles do not alternate, one with a system turn."""
    user = {"role": "user", "content": "What is 1 + 1?"}
    rows: list[dict[str, Any]] = [{"id": f"q{n}", "prompt": f"What is {n} + {n}?"} for n in range(3)]
    rows.append({"id": "long", "prompt": "word " * 3000})
    rows.append({"id": "twice", "prompt": [user, user]})
    rows.append({"id": "system", "prompt": [{"role": "system", "content": "Be short."}, user]})
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return PoolData(ingest_prompts(file, tmp_path).path, None, range(len(rows)))


def preflight(root: Path, data: PoolData, *, max_new_tokens: int = 8) -> Preflight:
    model = resolve(ModelReference(source="local", id="tiny"), models_root=root)
    return Preflight(model, data, window=5, max_new_tokens=max_new_tokens)


def run(request: Preflight) -> dict[str, Any]:
    return run_preflight(request, on_progress=lambda _: None)


def test_everything_that_does_not_fit_is_found_at_once(root: Path, prompts: PoolData) -> None:
    template(root, ALTERNATE + CHAT_TEMPLATE)
    seen: list[int] = []
    request = preflight(root, prompts)
    report = run_preflight(request, on_progress=seen.append)
    assert Preflight.from_json(request.to_json()).model == request.model
    assert (report["prompts"], report["too_long"], report["refused"]) == (6, [3], [4])
    assert "'long' has" in report["too_long_reason"]
    assert "'twice' (user, user): roles must alternate" in report["refused_reason"]
    assert 10 < report["longest"] < 100
    assert seen[-1] == 6


def test_histories_and_items_are_tried(root: Path, tmp_path: Path) -> None:
    samples, items = write_files(tmp_path, samples=6, items=12)
    done = ingest(samples, items, tmp_path)
    data = PoolData(done.samples_path, done.items_path, [0, 3])
    report = run(preflight(root, data))
    assert (report["prompts"], report["too_long"], report["items_too_long"]) == (2, [], [])
    change_json(root / "tiny" / "config.json", max_position_embeddings=100)
    report = run(preflight(root, data))
    assert (report["too_long"], len(report["items_too_long"])) == ([0, 3], 12)
    assert run(replace(preflight(root, data), with_items=False))["items_too_long"] == []
    assert "100 positions" in report["item_reason"]
    assert Dataset.open(done.samples_path, done.items_path).n_items == 12


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (LOOP, "chat template of 'tiny' took more than 10 s"),
        ("{{ 'a' * 10**10 }}", "MemoryError"),
        # Which limit is reached first depends on the machine: a slow one needs its 10 s to fill 4 GiB.
        (GROW, "Memory|more than 10 s of processor time"),
    ],
)
def test_a_template_without_an_end_is_refused_in_seconds(root: Path, prompts: PoolData, text: str, word: str) -> None:
    template(root, text)
    request = preflight(root, prompts)
    begun = time.process_time()
    with pytest.raises(ModelRefused, match=word) as caught:
        run(request)
    assert caught.value.code == "model_unusable"
    assert time.process_time() - begun < 5, "this process only waits"


def test_a_tokenizer_that_takes_all_memory_is_refused(root: Path, prompts: PoolData) -> None:
    def grow(content: dict[str, Any]) -> dict[str, Any]:
        step = {"type": "Replace", "pattern": {"Regex": "."}, "content": "x" * 1000}
        return content | {"normalizer": {"type": "Sequence", "normalizers": [step] * 4}}

    change_json(root / "tiny" / "tokenizer.json", grow)
    with pytest.raises(ModelRefused, match="tokenizer") as caught:
        run(preflight(root, prompts))
    assert caught.value.code == "model_unusable"


def test_weights_are_accounted_for_without_reading_them(root: Path, prompts: PoolData) -> None:
    change_json(root / "tiny" / "config.json", num_hidden_layers=3)
    with pytest.raises(ModelRefused, match="9 of the"):
        run(preflight(root, prompts))


def test_it_ends_with_the_job(root: Path, prompts: PoolData) -> None:
    class Cancelled(Exception):
        pass

    def cancel(_: int) -> None:
        raise Cancelled

    template(root, LOOP)
    with pytest.raises(Cancelled):
        run_preflight(preflight(root, prompts), on_progress=cancel)
