"""Texts of rollouts come back as they were written, cut where they were to be cut."""

from __future__ import annotations

import numpy as np
import pytest

from minirec.store.texts import KeptText, decode_texts, encode_texts, text_arrays, without_texts

TEXTS = [["abc", ""], ["ünï→", "x" * 9], ["\x00<b>", "d\ud800e"]]


def test_texts_of_several_batches_are_one_blob() -> None:
    batches = [text_arrays(TEXTS[:1], characters=4), text_arrays(TEXTS[1:], characters=4)]
    joined = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    content = encode_texts(joined | {"reward": np.zeros(3)})
    assert decode_texts(content, 0) == [KeptText("abc", False), KeptText("", False)]
    assert decode_texts(content, 1) == [KeptText("ünï→", False), KeptText("xxxx", True)]
    assert decode_texts(content, 2) == [KeptText("\x00<b>", False), KeptText("d?e", False)]
    with pytest.raises(IndexError):
        decode_texts(content, 3)


def test_numbers_are_kept_apart_from_texts() -> None:
    arrays = text_arrays(TEXTS, characters=1) | {"reward": np.ones(3)}
    assert list(without_texts(arrays)) == ["reward"]
