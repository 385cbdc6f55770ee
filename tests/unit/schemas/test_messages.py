"""Validation errors are said in plain words, at the place in the request that its author wrote."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from minirec.api_schemas import SelectionCreate
from minirec.api_schemas.messages import explained, located, plain

GOOD = {"dataset_id": "ds_1", "model": {"source": "hub", "id": "org/model"}, "size": 8}


def faults(**changes: Any) -> dict[str, str]:
    """The faults of a request, as the service names them."""
    body = GOOD | changes
    with pytest.raises(ValidationError) as caught:
        SelectionCreate.model_validate(body)
    errors = [error | {"loc": ("body", *error["loc"])} for error in caught.value.errors()]
    return {".".join(map(str, loc[1:])): words for loc, words, _ in located(errors, body)}


@pytest.mark.parametrize(
    ("changes", "place", "words"),
    [
        ({"model": {"source": "hub", "id": "my model"}}, "model.id", "should be a hub id such as org/name"),
        ({"model": {"source": "hub", "id": "m", "revision": "a b"}}, "model.revision", "should be a branch"),
        ({"model": {"source": "disk", "id": "m"}}, "model.source", "should be 'hub' or 'local'"),
        ({"model": {"source": "hub"}}, "model.id", "is missing"),
        ({"model": "org/model"}, "model", "should be an object with fields"),
        ({"dataset_id": "cds"}, "dataset_id", "should be an id as the service returned it, ds_..."),
        ({"size": 1.5}, "size", "should be"),
        ({"size": "10%"}, "size", "should be a valid"),
        ({"nonsense": 1}, "nonsense", "is not a known field"),
        ({"rollouts": {"group_size": 0}}, "rollouts.group_size", "should be greater than or equal to"),
        ({"rewards": [{"name": "a b"}]}, "rewards.0.name", "should be the name of a reward"),
    ],
)
def test_a_fault_is_said_in_words_at_its_place(changes: dict[str, Any], place: str, words: str) -> None:
    found = faults(**changes)
    assert place in found
    assert words in found[place]
    for text in found.values():
        assert not text.startswith(("Input", "String", "Value error"))
        assert "pattern" not in text
        assert "[" not in text
    assert all("constrained" not in loc and "function" not in loc for loc in found)


def test_a_value_that_may_be_of_two_kinds_has_one_fault() -> None:
    assert list(faults(size="many")) == ["size"]


def test_an_error_raised_by_a_validator_is_its_own_words() -> None:
    def refuse(value: int) -> int:
        raise ValueError("is odd; give an even number")

    from typing import Annotated

    from pydantic import AfterValidator

    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Annotated[int, AfterValidator(refuse)]).validate_python(3)
    assert explained(caught.value.errors()[0]) == "is odd; give an even number"
    assert plain("Value error, 'x' is not one of 'a', 'b'.") == "'x' is not one of 'a', 'b'."


def test_a_text_that_is_no_json_is_said_to_be_so() -> None:
    with pytest.raises(ValidationError) as caught:
        SelectionCreate.model_validate_json("{")
    assert explained(caught.value.errors()[0]).startswith("is not valid JSON: EOF")
