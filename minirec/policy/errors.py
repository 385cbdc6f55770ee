"""Errors that another attempt would end with, too."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

FAULTS_OF_FILES = (None, errno.EACCES, errno.EPERM, errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EINVAL)
"""Numbers of OSErrors that the files themselves cause; transformers raises OSError without one. Any other may pass."""
MESSAGE_CHARACTERS = 600


class ModelRefused(ValueError):
    """A model reference that cannot or must not be loaded; `code` is stable, the message is for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.status: int | None = None
        """The HTTP status with which an inference server refused."""


class EngineUnreachable(Exception):
    """An inference server was away, busy or broken for as long as there was patience; it may come back."""


class InvalidSampleError(ValueError):
    """Samples or items that do not fit the model: too long, refused by its chat template, or not finite under it."""

    def __init__(self, message: str, sample_ids: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.sample_ids = list(sample_ids)


class TooLongError(InvalidSampleError):
    """A prompt leaves less room in the model's context than it may need for its answer."""


@contextmanager
def refusing(doing: str, *, code: str = "model_unusable", advice: str = "") -> Iterator[None]:
    """Turn whatever a library raises over a model's files in this block into `ModelRefused`.

    Libraries raise bare `Exception`, and extensions written in Rust panic with a `BaseException` of their own. Errors
    of the machine (no memory, a disk that fails) are left as they are, since they may pass.

    Args:
        doing: What is being done, as the message's beginning: "the tokenizer of 'x' could not be read".
        code: Code of the refusal.
        advice: What to do, as the message's end.

    Raises:
        ModelRefused: In place of everything else that the block raises.
    """
    try:
        yield
    except (ModelRefused, InvalidSampleError, KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
        raise
    except BaseException as error:
        if isinstance(error, OSError) and error.errno not in FAULTS_OF_FILES:
            raise
        if type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported here
            raise
        text = " ".join(str(error).split())[:MESSAGE_CHARACTERS]
        end = f" {advice}" if advice else ""
        raise ModelRefused(code, f"{doing}: {text or 'no reason given'} ({type(error).__name__}).{end}") from error
