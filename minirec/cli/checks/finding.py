"""What a check says."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

State = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    state: State
    found: str
    """What is there, in words."""
    advice: str | None = None
    """What to do; null where nothing needs to be done."""
    facts: dict[str, Any] = field(default_factory=dict)
    """The same for programs."""

    def as_json(self) -> dict[str, Any]:
        """Return it without what is empty."""
        return {name: value for name, value in asdict(self).items() if value not in (None, {})}


def ok(name: str, found: str, **facts: Any) -> Finding:
    """Return a finding that needs nothing to be done."""
    return Finding(name, "ok", found, None, facts)


def warning(name: str, found: str, advice: str, **facts: Any) -> Finding:
    """Return a finding that may matter."""
    return Finding(name, "warning", found, advice, facts)


def problem(name: str, found: str, advice: str, **facts: Any) -> Finding:
    """Return a finding that keeps something from working."""
    return Finding(name, "problem", found, advice, facts)
