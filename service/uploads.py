"""Multipart bodies of uploads: their files on disk, their fields checked."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

from fastapi import Request
from fastapi.openapi.models import Example
from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import FormData, UploadFile

from minirec.api_schemas import FieldError, Metadata, TimestampUnit
from minirec.api_schemas.messages import explained
from minirec.service.problems import ProblemError, invalid

MAX_NAME = 200
COPY_BYTES = 1 << 20
PREFIX = "minirec-upload-"
STALE_SECONDS = 24 * 3600.0

_metadata = TypeAdapter(Metadata)


@dataclass(frozen=True)
class Form:
    """The parts that a multipart body may have."""

    files: dict[str, str]
    """Description of each file."""
    required: tuple[tuple[str, ...], ...]
    """Sets of files: one of them must be there, all of it; files that are in none are optional."""
    fields: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Schema of each plain field."""
    belongs_to: dict[str, str] = field(default_factory=dict)
    """Files without which a field says nothing, and is refused."""
    examples: dict[str, Example] = field(default_factory=dict)
    """Bodies for the documentation, each file as its text."""

    @property
    def request_body(self) -> dict[str, Any]:
        """OpenAPI's description of the body, which is read by hand: after the key was checked, and straight to disk."""
        content = {"schema": self._schema, "examples": self.examples}
        return {"required": True, "content": {"multipart/form-data": content}}

    @property
    def wanted(self) -> str:
        """Return what must be sent, in words."""
        return ", or ".join(_files(names) for names in self.required)

    @property
    def _schema(self) -> dict[str, Any]:
        """One object with all parts: of a choice between objects, generated clients send nothing."""
        files = {name: {"type": "string", "format": "binary", "description": text} for name, text in self.files.items()}
        schema = {"type": "object", "additionalProperties": False, "properties": files | self.fields}
        first, *others = self.required
        if not others:
            return schema | {"required": list(first)}
        (second,) = others
        return schema | {"if": {"required": list(second)}, "then": self._only(second), "else": self._only(first)}

    def _only(self, required: tuple[str, ...]) -> dict[str, Any]:
        """Return what holds of a body with one of the sets of files: it has all of it, and nothing of the others."""
        others = {name for names in self.required for name in names} - set(required)
        alien = [name for name in (*self.files, *self.fields) if {name, self.belongs_to.get(name)} & others]
        return {"required": list(required), "properties": dict.fromkeys(alien, False)}

    def chosen(self, given: Collection[str]) -> tuple[str, ...]:
        """Return the set of files that a body with these parts has, or may have. Raises ProblemError for several."""
        begun = [names for names in self.required if not set(names).isdisjoint(given)]
        if len(begun) == 1 or len(self.required) == 1:
            return (begun or list(self.required))[0]
        what = " and ".join(f"`{name}`" for names in begun for name in names if name in given)
        problem = f"{what} do not go together" if begun else "no file was sent"
        raise invalid("invalid_request", ("body",), f"{problem}; send {self.wanted}")


DATASET = Form(
    files={
        "samples": "Samples (`SampleRow`) as JSONL, gzip-compressed JSONL or Parquet",
        "items": "The catalogue (`ItemRow`) as JSONL, gzip-compressed JSONL or Parquet",
        "prompts": "Prompts to answer in text (`PromptRow`) as JSONL, gzip-compressed JSONL or Parquet",
    },
    required=(("samples", "items"), ("prompts",)),
    fields={
        "name": {
            "type": "string",
            "maxLength": MAX_NAME,
            "description": "A name for people; lists can be filtered by it",
        },
        "metadata": {"type": "string", "description": 'A JSON object of strings, e.g. `{"source": "ml-100k"}`'},
        "timestamp_unit": {
            "type": "string",
            "enum": list(get_args(TimestampUnit)),
            "description": "Unit of `timestamp` and `history_timestamps` in `samples`; seconds unless given",
        },
    },
    belongs_to={"timestamp_unit": "samples"},
    examples={
        "interactions": {
            "summary": "Two samples and their catalogue",
            "value": {
                "samples": '{"id": "u1-1", "user_id": "u1", "history": ["m12"], "target": "m31"}\n'
                '{"id": "u2-1", "user_id": "u2", "history": ["m31", "m12"], "target": "m7"}\n',
                "items": '{"item_id": "m7", "title": "Heat"}\n{"item_id": "m12", "title": "Apollo 13"}\n'
                '{"item_id": "m31", "title": "Crimson Tide"}\n',
                "name": "movies",
                "metadata": '{"source": "ml-100k"}',
            },
        },
        "prompts": {
            "summary": "Two prompts with their answers",
            "value": {
                "prompts": '{"id": "a", "prompt": "What is 1 + 1?", "answer": "2"}\n'
                '{"id": "b", "prompt": "What is 2 + 3?", "answer": "5"}\n',
                "name": "sums",
            },
        },
    },
)
SIGNALS = Form(
    files={
        "rewards": "Rewards (`RewardRow`) as JSONL, gzip-compressed JSONL or Parquet",
        "vectors": "Gradients `(n, d)` as npy or safetensors, one row per sample of `ids` or else of `rewards`",
        "embeddings": "Embeddings `(n, e)`, in the same way",
        "ids": "One sample id per line: which rows `vectors` and `embeddings` have",
    },
    required=(("rewards",),),
    examples={
        "rewards": {
            "summary": "Four rollouts' rewards of each of two samples",
            "value": {
                "rewards": '{"sample_id": "u1-1", "reward": [0.0, 1.0, 0.0, 0.5]}\n'
                '{"sample_id": "u2-1", "reward": [1.0, 1.0, 1.0, 1.0]}\n'
            },
        }
    },
)


@dataclass(frozen=True)
class Upload:
    """What was sent, checked as far as that goes without reading the files."""

    files: dict[str, UploadFile]
    name: str | None
    metadata: dict[str, str]
    timestamp_unit: TimestampUnit | None = None
    """Unit of the samples' times; None: seconds, unless a column of datetimes has its own."""

    def title(self, part: str) -> str:
        """Return what messages call a file: the client's name for it, made harmless, or the part's."""
        given = (self.files[part].filename or "").replace("\\", "/").rsplit("/", 1)[-1]
        return "".join(char for char in given if char.isprintable())[:100] or part


async def read_form(request: Request, spec: Form) -> FormData:
    """Return the parsed body; files are spooled to disk as they arrive. Raises ProblemError."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "multipart/form-data":
        raise invalid(
            "invalid_request",
            ("header", "content-type"),
            f"is {media_type or 'missing'}; send multipart/form-data with {spec.wanted}",
        )
    return await request.form(max_files=8, max_fields=8)


def check_form(form: FormData, spec: Form) -> Upload:
    """Return the files and fields of a body. Raises ProblemError 422 that lists everything wrong with it."""
    errors: list[FieldError] = []

    def fault(name: str, msg: str) -> None:
        errors.append(FieldError(loc=["body", name], msg=msg))

    for name in sorted(set(form) - {*spec.files, *spec.fields}):
        fault(name, f"is not known; the parts are {', '.join((*spec.files, *spec.fields))}")
    for name in form:
        if len(form.getlist(name)) > 1:
            fault(name, "was sent more than once")
    required = spec.chosen(set(form))
    files = {}
    for name in spec.files:
        value = form.get(name)
        if isinstance(value, UploadFile):
            files[name] = value
        elif value is not None or name in required:
            fault(name, "is missing" if value is None else "is a plain field; send it as a file, with a filename")
    fields = {}
    for name in spec.fields:
        value = form.get(name)
        if isinstance(value, UploadFile):
            fault(name, "is a file; send it as a plain field")
        elif value is not None:
            fields[name] = value
    if len(fields.get("name", "")) > MAX_NAME:
        fault("name", f"is longer than {MAX_NAME} characters")
    metadata: dict[str, str] = {}
    try:
        metadata = _metadata.validate_json(fields.get("metadata", "{}"), strict=True)
    except ValidationError as error:
        fault("metadata", f"must be a JSON object of strings: {explained(error.errors()[0])}")
    unit = fields.get("timestamp_unit")
    if unit is not None and unit not in get_args(TimestampUnit):
        fault("timestamp_unit", f"must be one of {', '.join(get_args(TimestampUnit))}")
    elif unit is not None and "samples" not in files:
        fault("timestamp_unit", "is the unit of the samples' times, and no samples were sent")
    if errors:
        first = errors[0]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise ProblemError(422, "invalid_request", f"{first.loc[-1]}: {first.msg}{more}", errors=errors)
    return Upload(files, fields.get("name"), metadata, cast(TimestampUnit | None, unit))


def copy_files(upload: Upload, folder: Path) -> tuple[dict[str, Path], str]:
    """Write the files under names of our own; return their paths and a hash over all that was sent."""
    fields = (upload.name, sorted(upload.metadata.items()), *([upload.timestamp_unit] if upload.timestamp_unit else []))
    digest = hashlib.sha256(repr(fields).encode())
    paths = {}
    for part in upload.files:
        paths[part] = folder / part
        digest.update(f"\n{part} {upload.files[part].size}\n".encode())
        with paths[part].open("wb") as sink:
            while chunk := upload.files[part].file.read(COPY_BYTES):
                digest.update(chunk)
                sink.write(chunk)
    return paths, digest.hexdigest()


def _files(names: tuple[str, ...]) -> str:
    quoted = " and ".join(f"`{name}`" for name in names)
    return f"the files {quoted}" if len(names) > 1 else f"the file {quoted}"


@contextmanager
def scratch() -> Iterator[Path]:
    """Yield a private folder for one upload, and remove it afterwards."""
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
        yield Path(folder)


def remove_stale(*, older_than: float = STALE_SECONDS) -> int:
    """Remove what killed processes of this user left behind; return how many uploads that were."""
    removed = 0
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(FileNotFoundError):  # Another janitor was faster.
            facts = folder.lstat()
            if facts.st_uid == os.getuid() and time.time() - facts.st_mtime > older_than:
                shutil.rmtree(folder)
                removed += 1
    return removed
