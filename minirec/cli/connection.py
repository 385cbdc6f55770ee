"""Which service a command talks to: the one named, else the embedded stack that runs here."""

from __future__ import annotations

from dataclasses import dataclass

import httpx2

from minirec.cli.data_folder import DataFolder, RunningStack
from minirec.client import MiniRec


@dataclass(frozen=True)
class Connection:
    """What the options and the environment say about the service."""

    base_url: str | None
    api_key: str | None

    def client(self) -> MiniRec:
        """A client of the service."""
        stack = self.stack()
        return local_client(stack, self.api_key) if stack else MiniRec(base_url=self.base_url, api_key=self.api_key)

    def stack(self) -> RunningStack | None:
        """The embedded stack, unless another service is named or none runs."""
        return None if self.base_url else DataFolder.default().running()


def local_client(stack: RunningStack, api_key: str | None = None) -> MiniRec:
    """A client of a stack on this machine, which no proxy stands before."""
    return MiniRec(base_url=stack.url, api_key=api_key, http_client=httpx2.Client(trust_env=False))
