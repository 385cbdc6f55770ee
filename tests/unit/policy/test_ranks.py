"""How processes divide work; that they come to the same result together is tested with the training jobs."""

from __future__ import annotations

import pytest

from minirec.policy.ranks import Ranks


@pytest.mark.parametrize("size", [0, 1, 2, 5, 12])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_everything_is_someones_share_once_and_in_order(size: int, count: int) -> None:
    shares = [range(size)[Ranks(index, count).share(size)] for index in range(count)]
    assert [thing for share in shares for thing in share] == list(range(size))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
