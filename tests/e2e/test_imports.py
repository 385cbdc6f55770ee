"""From files and tables as people have them to a subset, through the whole stack."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from minirec.data.importers import Options, convert
from tests.e2e.stack import Stack

pytestmark = pytest.mark.slow

USERS, ITEMS, CHOICES = 40, 30, 8


def recbole(folder: Path) -> Path:
    """Write RecBole atomic files of users who rate as chance has it."""
    rng = random.Random(0)
    folder.mkdir()
    lines = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
    for user in range(USERS):
        for place, item in enumerate(rng.sample(range(ITEMS), CHOICES)):
            lines.append(f"{user}\t{item}\t{3 + place % 3}\t{1_000_000_000 + rng.randrange(10**6)}")
    (folder / "films.inter").write_text("\n".join(lines) + "\n")
    titles = [f"{item}\tFilm {item}" for item in range(ITEMS)]
    (folder / "films.item").write_text("\n".join(["item_id:token\tmovie_title:token_seq", *titles]) + "\n")
    return folder


def test_recbole_files_to_a_subset_by_commands(stack: Stack, tmp_path: Path) -> None:
    def minirec(*arguments: str) -> str:
        environment = os.environ | {"MINIREC_BASE_URL": stack.url, "MINIREC_API_KEY": stack.key}
        command = [str(Path(sys.executable).parent / "minirec"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{stack.log()}"
        return done.stdout

    source, out = recbole(tmp_path / "films"), tmp_path / "out"
    dataset = json.loads(minirec("import", str(source), "--upload", "--min-rating", "4", "-o", str(out), "--json"))
    assert (dataset["name"], dataset["n_items"]) == ("films", ITEMS)
    assert dataset["n_samples"] == json.loads((out / "import.json").read_text())["written"]["samples"]
    assert dataset["warnings"] == []
    with stack.client() as client:
        samples = pd.read_json(out / "samples.jsonl.gz", lines=True, dtype={"id": str})
        rng = np.random.default_rng(0)
        rewards = pd.DataFrame({"sample_id": samples["id"], "reward": list(rng.random((len(samples), 4)))})
        vectors = rng.standard_normal((len(samples), 8)).astype(np.float32)
        signals = client.datasets.upload_signals(
            dataset["id"], rewards=rewards, vectors=vectors, embeddings=vectors[:, :4], ids=samples["id"]
        )
        assert (signals.n_samples, signals.vector_size, signals.embedding_size) == (len(samples), 8, 4)
    selection = json.loads(minirec("select", "--dataset", dataset["id"], "--signals", "--size", "16", "--json"))
    minirec("subset", selection["id"], "-o", str(tmp_path / "subset.jsonl"))
    picked = [json.loads(line) for line in (tmp_path / "subset.jsonl").read_text().splitlines()]
    assert len(picked) == 16
    assert {row["id"] for row in picked} <= set(samples["id"])


def test_a_frame_of_interactions_to_a_dataset(stack: Stack, tmp_path: Path) -> None:
    ratings = pd.DataFrame({"user": [1, 1, 1], "item": [1, 2, 3], "at": pd.date_range("2024-01-01", periods=3)})
    items = pd.DataFrame({"item_id": [1, 2, 3], "title": ["Heat", "Ronin", "Thief"], "year": [1995, None, 1981]})
    made = convert({"log": ratings, "items": items}, tmp_path / "made", options=Options(columns={"timestamp": "at"}))
    files: dict[str, Any] = {**made.files}
    with stack.client() as client:
        dataset = client.datasets.upload(**files, name="log")
        direct = client.datasets.upload(pd.read_json(made.files["samples"], lines=True, dtype={"id": str}), items)
    assert (dataset.n_samples, dataset.n_items, dataset.warnings) == (2, 3, [])
    assert (direct.n_samples, direct.n_items) == (2, 3)
