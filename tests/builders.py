"""A small dataset and a tiny real model, made on the spot."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

GENRES = ("jazz", "punk", "opera", "techno", "folk", "metal")
ADJECTIVES = ("Silent", "Golden", "Broken", "Electric", "Hidden", "Crimson", "Distant", "Frozen", "Burning", "Paper")
MIXED_PROMPTS: list[dict[str, Any]] = [
    {"id": "p1", "prompt": "What is 1 + 1?", "answer": "2", "level": 3, "tags": ["sum"], "source": "openai/gsm8k"},
    {
        "id": "p2",
        "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name two films."}],
        "answer": ["Alien", "Amélie"],
        "source": "films",
        "ability": "memory",
        "completion": "a name that trainers keep for themselves",
    },
    {"id": "p3", "prompt": "Say anything.", "level": 1.5},
]
"""A text with one answer, a chat with several, and a row with none, with all kinds of further fields."""


def write_files(folder: Path, *, samples: int = 48, items: int = 40, seed: int = 0) -> tuple[Path, Path]:
    """A catalogue and the samples of users who stay with one genre, as JSONL files."""
    rng = random.Random(seed)
    catalogue: list[dict[str, Any]] = [
        {"item_id": f"i{n}", "title": f"{ADJECTIVES[n % 10]} {GENRES[n % 6].title()} No. {n}", "genre": GENRES[n % 6]}
        for n in range(items)
    ]
    rows = []
    for n in range(samples):
        liked = [item["item_id"] for item in catalogue if item["genre"] == GENRES[n % 6]]
        history = rng.sample(liked, k=min(len(liked) - 1, 1 + n % 5))
        target = rng.choice([item for item in liked if item not in history])
        rows.append({"id": f"s{n:03d}", "user_id": f"u{n % 7}", "history": history, "target": target, "timestamp": n})
    files = folder / "samples.jsonl", folder / "items.jsonl"
    for path, content in zip(files, (rows, catalogue), strict=True):
        path.write_text("".join(json.dumps(row) + "\n" for row in content))
    return files


def with_splits(samples: Path) -> Path:
    """The same samples, of every six four to train on, one to validate and one to test with."""
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    splits = ("train", "train", "train", "train", "valid", "test")
    samples.write_text("".join(json.dumps(row | {"split": splits[n // 6 % 6]}) + "\n" for n, row in enumerate(rows)))
    return samples


def write_prompts(folder: Path, *, prompts: int = 40, splits: bool = True) -> Path:
    """Sums to do in one's head, as a JSONL file; of every eight six to train on, one to validate, one to test with."""
    names = ("train",) * 6 + ("valid", "test")
    path = folder / "prompts.jsonl"
    with path.open("w") as file:
        for n in range(prompts):
            row = {"id": f"p{n:03d}", "prompt": f"What is {n} + {n % 7}?", "answer": str(n + n % 7), "level": n % 3}
            file.write(json.dumps(row | ({"split": names[n % 8]} if splits else {})) + "\n")
    return path


def reward_package(folder: Path) -> Path:
    """An installed package, as pip leaves one, whose reward `digits` a random model does earn now and then."""
    (folder / "counting.py").write_text(
        "poisoned = False\n\n\n"
        "def digits(completion, answer, row):\n"
        "    if poisoned and row['id'] == 'p009':\n"
        "        raise KeyError('poison')\n"
        "    return sum(char in answer for char in completion) / max(1, len(completion))\n"
    )
    info = folder / "counting-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: counting\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[minirec.rewards]\ndigits = counting:digits\n")
    return folder


def tiny_model(models_dir: Path) -> Path:
    """A random two-layer model with its own tokenizer, as the local model `tiny`."""
    from minirec.policy.tiny import build_tiny_model

    texts = [f"{adjective} {genre.title()} No. {n}" for adjective in ADJECTIVES for n, genre in enumerate(GENRES)]
    return build_tiny_model(models_dir / "tiny", texts=texts)


def write_mixed_prompts(folder: Path, *, count: int = 48) -> Path:
    """Prompts as a JSONL file: those three again and again, under ids of their own."""
    path = folder / "prompts.jsonl"
    rows = [MIXED_PROMPTS[n % len(MIXED_PROMPTS)] | {"id": f"p{n:03d}"} for n in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
