"""Item vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from minirec.policy import catalogue
from minirec.policy.batching import prefill
from minirec.policy.catalogue import embed_items
from minirec.policy.policy import Policy
from minirec.policy.prompts import item_prompt

Items = list[dict[str, Any]]


def test_vectors_are_the_normalised_hidden_state_at_answer(policy: Policy, items: Items) -> None:
    vectors = embed_items(policy, items, batch_size=7)
    assert vectors.shape == (len(items), policy.hidden_size)
    assert vectors.dtype == np.float32
    for row in (0, 13, 63):
        with torch.inference_mode():
            output = policy.model(torch.tensor([item_prompt(policy, items[row])]), output_hidden_states=True)
        z = output.hidden_states[-1][0, -1].numpy()
        np.testing.assert_allclose(vectors[row], z / np.linalg.norm(z), atol=1e-5)


def test_items_that_read_the_same_get_the_same_vector_and_others_do_not(policy: Policy, items: Items) -> None:
    twins = [{**items[0], "item_id": "twin"}, *items[1:20], items[0]]
    vectors = embed_items(policy, twins, batch_size=4)
    assert np.array_equal(vectors[0], vectors[-1])
    assert len(np.unique(vectors, axis=0)) == 20


def test_on_batch_counts_items_up_to_all_of_them(policy: Policy, items: Items) -> None:
    heard: list[int] = []
    embed_items(policy, [*items, *items], batch_size=10, on_batch=heard.append)
    assert heard == sorted(heard)
    assert heard[-1] == 2 * len(items)


def test_on_batch_may_stop_the_work(policy: Policy, items: Items) -> None:
    def stop(done: int) -> None:
        raise KeyboardInterrupt(done)

    with pytest.raises(KeyboardInterrupt):
        embed_items(policy, items, batch_size=10, on_batch=stop)


def test_a_batch_too_large_for_memory_is_halved(policy: Policy, items: Items, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, sizes = embed_items(policy, items), []

    def small_memory(policy: Policy, prompts: Any, opening: Any) -> Any:
        sizes.append(len(prompts))
        if len(prompts) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return prefill(policy, prompts, opening)

    monkeypatch.setattr(catalogue, "prefill", small_memory)
    np.testing.assert_allclose(embed_items(policy, items, batch_size=16), whole, atol=1e-5)
    assert sizes[:3] == [16, 8, 4]


def test_one_item_too_large_for_memory_is_an_error(
    policy: Policy, items: Items, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(catalogue, "prefill", no_memory)
    with pytest.raises(torch.OutOfMemoryError):
        embed_items(policy, items)


def test_an_item_that_does_not_fit_is_named(policy: Policy) -> None:
    endless = {"item_id": "x9", "title": "A"} | {f"field{index}": "word " * 60 for index in range(100)}
    with pytest.raises(ValueError, match="item 'x9' needs"):
        embed_items(policy, [{"item_id": "x1", "title": "B"}, endless])


def test_an_empty_catalogue_has_no_vectors(policy: Policy) -> None:
    assert embed_items(policy, []).shape == (0, policy.hidden_size)
