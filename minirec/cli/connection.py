"""Which service a command talks to: the one named, else the embedded stack that runs here."""

from __future__ import annotations

from dataclasses import dataclass, field

from minirec.client import MiniRec
from minirec.client.local import RunningStack, chosen_stack


@dataclass(frozen=True)
class Connection:
    """The service that the options and the environment name."""

    base_url: str | None
    api_key: str | None = field(repr=False)

    def client(self) -> MiniRec:
        """Return a client of the service."""
        stack = self.stack()
        return local_client(stack, self.api_key) if stack else MiniRec(base_url=self.base_url, api_key=self.api_key)

    def stack(self) -> RunningStack | None:
        """Return the embedded stack, null where another service is named or none runs.

        Raises ConfigurationError where several run.
        """
        return chosen_stack(self.base_url)


def local_client(stack: RunningStack, api_key: str | None = None) -> MiniRec:
    """Return a client of a stack on this machine, by its own key unless another is given."""
    return MiniRec(base_url=stack.url, api_key=api_key or stack.api_key)
