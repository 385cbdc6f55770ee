"""Rollouts side by side behind one prompt read what each would read alone."""

from __future__ import annotations

import torch

from minirec.training.packing import Branch, Tree, build_trees, pack


def branch(sample: int, length: int) -> Branch:
    return Branch(sample, [7] * length, [7] * length, 1.0, False)


def test_a_tree_holds_the_branches_of_one_sample_up_to_its_size() -> None:
    prompts = [[1] * 5, [2] * 3]
    branches = [branch(0, 2), branch(0, 2), branch(0, 2), branch(1, 9), branch(1, 1)]
    trees = build_trees(prompts, branches, share=True, max_tokens=10)
    assert [(tree.prompt, [len(each.tokens) for each in tree.branches]) for tree in trees] == [
        (prompts[0], [2, 2]),
        (prompts[0], [2]),
        (prompts[1], [9]),
        (prompts[1], [1]),
    ]


def test_without_sharing_every_branch_stands_alone() -> None:
    trees = build_trees([[1] * 5], [branch(0, 2), branch(0, 2)], share=False, max_tokens=100)
    assert [len(tree.branches) for tree in trees] == [1, 1]


def test_a_token_sees_its_prompt_and_its_own_branch_only() -> None:
    packed = pack(
        [Tree([1, 1], [branch(0, 2), branch(0, 1)]), Tree([1], [branch(1, 1)])], pad_id=0, device=torch.device("cpu")
    )
    seen = (packed.tree_mask(torch.float32) == 0)[:, 0].int().tolist()
    assert seen[0] == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 0, 0, 1]]
    assert seen[1][3:] == [[0, 0, 0, 1, 0], [0, 0, 0, 1, 1]]
    assert packed.position_ids.tolist() == [[0, 1, 2, 3, 2], [0, 0, 0, 0, 1]]
