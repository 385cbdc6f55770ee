"""Closed-form gradients and Hessian-vector products against autograd and double backward: time, memory and error.

    python benchmarks/gradients.py [--threads 1]

Both sides get the same inputs and give the same vector. `text`: the tokens of one rollout under a plain text policy,
logits known from the forward pass (autograd's timing starts there too). `items`: rollouts against a catalogue.
Memory is what the process needed beyond its inputs, from the kernel's high-water mark (Linux).
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from minirec.policy.gradients import gradient, hvp
from minirec.policy.token_gradients import token_gradient, token_hvp

REPEATS = 5
TAU = 0.02
Work = Callable[[], Tensor]
T = TypeVar("T")


def text_case(size: int, words: int, tokens: int, dtype: torch.dtype) -> dict[str, Work]:
    """One rollout: its tokens' hidden states z, the output embedding and the logits."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(tokens, size, generator=generator)
    weight = (torch.randn(words, size, generator=generator) / size**0.5).to(dtype)
    targets = torch.randint(words, (tokens,), generator=generator)
    advantages = torch.randn(tokens, generator=generator)
    vector = torch.randn(size, generator=generator)
    z = z.to(dtype).requires_grad_()
    graph = z @ weight.T
    logits = graph.detach()

    def loss() -> Tensor:
        return (advantages * torch.nn.functional.cross_entropy(graph.float(), targets, reduction="none")).sum()

    def backward() -> Tensor:
        return torch.autograd.grad(loss(), z, retain_graph=True)[0].float().sum(0)

    def double_backward() -> Tensor:
        (first,) = torch.autograd.grad(loss(), z, create_graph=True)
        return torch.autograd.grad((first.float() @ vector).sum(), z, retain_graph=True)[0].float().sum(0)

    return {
        "gradient": lambda: token_gradient(logits, targets, weight, advantages=advantages),
        "gradient by autograd": backward,
        "gradient exact": lambda: token_gradient(logits.double(), targets, weight.double(), advantages=advantages),
        "hvp": lambda: token_hvp(logits, targets, weight, vector, advantages=advantages),
        "hvp by autograd": double_backward,
        "hvp exact": lambda: token_hvp(logits.double(), targets, weight.double(), vector, advantages=advantages),
    }


def item_case(size: int, items: int, rows: int, dtype: torch.dtype) -> dict[str, Work]:
    """Rollouts of a batch: z, the item vectors, one target each."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(rows, size, generator=generator).to(dtype).requires_grad_()
    vectors = torch.nn.functional.normalize(torch.randn(items, size, generator=generator), dim=1).to(dtype)
    targets = torch.randint(items, (rows,), generator=generator)
    advantages = torch.randn(rows, generator=generator)

    def loss() -> Tensor:
        scores = torch.nn.functional.normalize(z, dim=1) @ vectors.T / TAU
        return (advantages * torch.nn.functional.cross_entropy(scores.float(), targets, reduction="none")).sum()

    def double_backward() -> Tensor:
        (first,) = torch.autograd.grad(loss(), z, create_graph=True)
        return torch.autograd.grad((first * first.detach()).sum(), z)[0]

    def closed(form: Callable[..., Tensor], dtype: torch.dtype) -> Work:
        return lambda: form(z.detach().to(dtype), vectors.to(dtype), targets, tau=TAU, advantages=advantages)

    return {
        "gradient": closed(gradient, dtype),
        "gradient by autograd": lambda: torch.autograd.grad(loss(), z)[0],
        "gradient exact": closed(gradient, torch.float64),
        "hvp": closed(hvp, dtype),
        "hvp by autograd": double_backward,
        "hvp exact": closed(hvp, torch.float64),
    }


CASES: dict[str, Callable[[], dict[str, Work]]] = {
    "text   d 576   V 49,152  512 tokens f32": partial(text_case, 576, 49_152, 512, torch.float32),
    "text   d 576   V 49,152  512 tokens bf16": partial(text_case, 576, 49_152, 512, torch.bfloat16),
    "text   d 2,048 V 151,936 256 tokens f32": partial(text_case, 2048, 151_936, 256, torch.float32),
    "items  d 576   M 5,561   64 rollouts f32": partial(item_case, 576, 5561, 64, torch.float32),
    "items  d 2,304 M 60,000  64 rollouts f32": partial(item_case, 2304, 60_000, 64, torch.float32),
}


def time_and_error(case: str, work: str, threads: int) -> tuple[float, float]:
    """Best seconds of a few, and the error relative to float64."""
    torch.set_num_threads(threads)
    works = CASES[case]()
    result, exact = works[work](), works[f"{work.split()[0]} exact"]()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        works[work]()
        times.append(time.perf_counter() - start)
    return min(times), float((result.double() - exact).norm() / exact.norm())


def memory(case: str, work: str, threads: int) -> float:
    """MiB needed beyond the inputs, at the highest."""
    torch.set_num_threads(threads)
    run = CASES[case]()[work]
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    run()
    return (_resident("VmHWM") - before) / 2**20


def apart(run: Callable[..., T], *arguments: object) -> T:
    """Run in a fresh process, so that no measurement leaves memory to the next."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(run, arguments)


def _resident(field: str) -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=1)
    threads: int = parser.parse_args().threads
    print(f"{'':42}{'':10}{'closed form':>26}{'autograd':>26}{'faster':>8}{'memory':>8}")
    for case in CASES:
        for work in ("gradient", "hvp"):
            ours, our_error = apart(time_and_error, case, work, threads)
            theirs, their_error = apart(time_and_error, case, f"{work} by autograd", threads)
            # Freed blocks go back to the system at once, so that the high-water mark is that of the work.
            os.environ |= {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
            our_memory = apart(memory, case, work, threads)
            their_memory = apart(memory, case, f"{work} by autograd", threads)
            del os.environ["MALLOC_MMAP_THRESHOLD_"], os.environ["MALLOC_TRIM_THRESHOLD_"]
            print(
                f"{case:42}{work:10}{ours * 1e3:7.0f} ms {our_memory:5.0f} MiB {our_error:.0e}"
                f"{theirs * 1e3:9.0f} ms {their_memory:5.0f} MiB {their_error:.0e}"
                f"{theirs / ours:7.1f}x {our_memory / max(their_memory, 1):7.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
