"""Results of other groups, by the name of the spec that made them."""

from __future__ import annotations

from typing import TypeVar

from minirec.specs import UnitSpec
from minirec.store import Store

S = TypeVar("S", bound=UnitSpec)


def spec_of_group(store: Store, kind: type[S], name: str) -> tuple[int, S]:
    """Return how many units made the results `name`, and with which spec: settings may have changed since.

    Raises NotFoundError where nobody made them, and SpecRefused where another release did.
    """
    units, stored = store.jobs.group(f"{kind.HANDLER}:{name}")
    return units, kind.read(stored)
