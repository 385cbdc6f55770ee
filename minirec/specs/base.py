"""What a unit of work is done with: one typed model per handler, whose name follows from its fields."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from minirec import __version__
from minirec.api_schemas import AdapterReference, ModelReference
from minirec.api_schemas.common import OPERATIONAL
from minirec.data.prompts import PROMPT_VERSION
from minirec.specs.naming import fingerprint, identity
from minirec.store.machine import Stage

Queue = Literal["cpu", "gpu", "train"]
DType = Literal["float32", "bfloat16", "float16"]
DeviceType = Literal["cpu", "cuda"]

WITH_PROMPTS = f"prompt{PROMPT_VERSION}"
"""Part of the version of every handler that words prompts: other words are other results."""


class SpecRefused(ValueError):
    """A stored spec that this release cannot read; the message names the release that wrote it."""


class UnitSpec(BaseModel):
    """Everything that a handler may read, and nothing else.

    A handler's results are named by its spec: by all fields but those marked `OPERATIONAL`, without those at their
    default, and by `VERSION`. So a new field with a default that changes nothing renames nothing. Whoever changes what
    a handler computes from the same fields, or a default, raises `VERSION`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    HANDLER: ClassVar[str]
    VERSION: ClassVar[str]
    QUEUE: ClassVar[Queue]

    @property
    def name(self) -> str:
        """Content-addressed name of the results, 24 hexadecimal digits."""
        return fingerprint({"handler": self.HANDLER, "version": self.VERSION, "spec": identity(self)})

    @property
    def group(self) -> str:
        """The group of units that makes them."""
        return f"{self.HANDLER}:{self.name}"

    @property
    def queue(self) -> Queue:
        """The queue in which its units wait for a worker."""
        return self.QUEUE

    @property
    def outputs(self) -> tuple[str, ...]:
        """Everything that the units write, as `Stage.outputs` has it."""
        return ()

    def stage(self, name: str, *, units: int = 1, total: int = 1) -> Stage:
        """Return the stage `name` of a job, whose `units` together hold `total` samples, items or updates."""
        return Stage(
            name=name,
            group=self.group,
            queue=self.queue,
            handler=self.HANDLER,
            units=units,
            total=total,
            spec=self.to_json(),
            outputs=self.outputs,
        )

    def to_json(self) -> str:
        """Return the spec as it is stored, with the version of its handler and the release that wrote it."""
        # A default left out means the same to every release that has this version.
        spec = self.model_dump(mode="json", exclude_defaults=True)
        return json.dumps({"version": self.VERSION, "release": __version__, "spec": spec})

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Self:
        """Return the spec that `to_json` stored. Raises SpecRefused for one of another version."""
        release = stored.get("release")
        writer = f"MiniRec {release}" if release else "a release of MiniRec that did not name itself yet"
        again = f"This is MiniRec {__version__}: start the job anew, or let workers of that release finish it."
        if stored.get("version") != cls.VERSION:
            raise SpecRefused(
                f"the spec for {cls.HANDLER!r} was written by {writer} and has version "
                f"{stored.get('version', 'none')}; only {cls.VERSION} is known here. {again}"
            )
        try:
            return cls.model_validate(stored["spec"])
        except (KeyError, ValidationError) as error:
            fault = _first_fault(error)
            raise SpecRefused(
                f"the spec for {cls.HANDLER!r}, written by {writer}, cannot be read here: {fault}. {again}"
            ) from error


def _first_fault(error: KeyError | ValidationError) -> str:
    if isinstance(error, KeyError):
        return "it has no content"
    fault = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"


class JobSpec(UnitSpec):
    """A unit that belongs to one job: what it is done with may be looked up in the job's record, too."""

    PREFIX: ClassVar[str]

    job_id: str

    @property
    def group(self) -> str:
        """The job's own group."""
        return f"{self.PREFIX}:{self.job_id}"


class PinnedAdapter(AdapterReference):
    """An adapter, named by its content: where it is found is operational."""

    model_config = ConfigDict(frozen=True)

    source: Annotated[Literal["hub", "local"], OPERATIONAL]
    id: Annotated[str, OPERATIONAL]
    revision: str


class PinnedModel(ModelReference):
    """A model, named by its content and by what it is computed in, whatever it is called and wherever it is found."""

    model_config = ConfigDict(frozen=True)

    source: Annotated[Literal["hub", "local"], OPERATIONAL]
    id: Annotated[str, OPERATIONAL]
    revision: str
    adapter: PinnedAdapter | None = None
    dtype: DType
    device: DeviceType | None = None
    """The kind of device that `auto` was resolved for; workers with another one refuse. None: the dtype was given."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if not self.revision:
            raise ValueError("a pinned model needs a revision")
        return self
