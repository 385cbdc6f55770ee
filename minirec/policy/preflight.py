"""The process that tries a model's files and a pool's prompts out: started by `minirec.policy.sandbox`, within limits.

It gets a `Preflight` as one line of JSON on its standard input, which stays open as long as the other side lives, and
writes one JSON object a line: which step begins, how many prompts are done, and in the end a report or a refusal.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
from contextlib import suppress
from dataclasses import asdict
from typing import Any, TextIO

from minirec.policy.sandbox import MEMORY_BYTES, STEPS, Preflight


def main() -> None:
    """Do what standard input asks for, and report on standard output."""
    reports, sys.stdout = sys.stdout, sys.stderr  # Libraries may print.
    request = Preflight.from_json(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _report(reports, step="importing")
    # Imported before the limits are set: torch alone maps gigabytes of address space.
    import torch

    from minirec.data.dataset import Dataset, PromptDataset
    from minirec.policy.chat import open_chat
    from minirec.policy.errors import ModelRefused
    from minirec.policy.pool_check import check_pool
    from minirec.policy.weights import check_vocabulary, load_model

    _limit_memory()
    model, data = request.model, request.data

    def on_part(done: int) -> None:
        _limit_time(STEPS["prompts"])
        _report(reports, done=done)

    try:
        _begin(reports, "tokenizer")
        chat = open_chat(model)
        _begin(reports, "template")
        chat.check()
        _begin(reports, "weights")
        structure = load_model(model, torch.float32, device="meta")
        check_vocabulary(model, chat, structure)
        del structure
        _begin(reports, "prompts")
        dataset: Any = (
            PromptDataset.open(data.samples) if data.items is None else Dataset.open(data.samples, data.items)
        )
        found = check_pool(
            chat,
            dataset,
            data.rows,
            window=request.window,
            max_new_tokens=request.max_new_tokens,
            with_items=request.with_items,
            on_part=on_part,
        )
        _report(reports, report=asdict(found))
    except ModelRefused as error:
        _report(reports, refused=error.code, message=str(error))
    except MemoryError:
        _report(reports, refused="model_unusable", message="")


def _begin(reports: TextIO, step: str) -> None:
    _limit_time(STEPS[step])
    _report(reports, step=step)


def _report(reports: TextIO, **fields: Any) -> None:
    reports.write(json.dumps(fields) + "\n")
    reports.flush()


def _limit_memory() -> None:
    """Limit the address space to this much beyond what is in use, on systems that have such a limit."""
    with suppress(OSError, ValueError):
        with open("/proc/self/statm") as status:
            used = int(status.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, hard))


def _limit_time(seconds: int) -> None:
    """Have the system end this process after so much more processor time, whatever it is doing."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(usage.ru_utime + usage.ru_stime) + 1 + seconds, hard))


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
