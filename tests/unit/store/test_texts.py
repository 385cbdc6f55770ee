"""Texts of rollouts come back as they were written, cut where they were to be cut."""

from __future__ import annotations

import numpy as np
import pytest

from minirec.store.texts import KeptText, decode_texts, encode_texts, rows_of, text_arrays, without_texts

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


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_texts_are_cut_into_parts_and_joined_again(size: int) -> None:
    whole = text_arrays(TEXTS, characters=9) | {"reward": np.arange(3.0)}
    parts = [rows_of(whole, slice(start, start + size)) for start in range(0, 3, size)]
    for n, part in enumerate(parts):
        assert decode_texts(encode_texts(part), 0)[0].text == TEXTS[n * size][0]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in whole}
    assert {name: values.tolist() for name, values in joined.items()} == {
        name: values.tolist() for name, values in whole.items()
    }


def test_numbers_are_kept_apart_from_texts() -> None:
    arrays = text_arrays(TEXTS, characters=1) | {"reward": np.ones(3)}
    assert list(without_texts(arrays)) == ["reward"]
