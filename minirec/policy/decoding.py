"""Decoding without waiting for the host: every tensor keeps its place and its shape, so that a step is one CUDA graph.

A model of 30 layers launches a thousand small kernels per token, and the host takes longer to launch them than a GPU
to run them. Here the host launches one graph a token, and looks at what was said every few tokens.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from minirec.policy.batching import Prefilled
from minirec.policy.cache import for_rollouts, select_rows
from minirec.policy.policy import Policy
from minirec.policy.sampling import Sampling, draw_tokens

CHECK_EVERY = 8
"""Tokens between two looks of the host. A rollout that is done goes on for so many at most; they are thrown away."""
FEW_ROWS = 64
"""Below these, fewer rows make a step no faster."""
WIDTH_MULTIPLE = 16
"""Attention with a mask runs on keys and values of such a length without copies."""

log = logging.getLogger(__name__)


class FixedDecoder:
    """R rollouts that a model continues token by token, on the device."""

    def __init__(
        self,
        policy: Policy,
        start: Prefilled,
        noise: npt.NDArray[np.float64],
        sampling: Sampling,
        *,
        repeats: int,
        ending: Sequence[int],
    ) -> None:
        """Begin behind a batch of prompts.

        Args:
            policy: What continues.
            start: B prompts that it has read.
            noise: (B * R, T), as `roll_out` takes it.
            sampling: How a token is drawn.
            repeats: Rollouts per prompt.
            ending: Tokens to say after the limit, and in place of a token that ends the turn; may be none.
        """
        rows, self.limit = noise.shape
        device, width = policy.device, start.attention_mask.shape[1]
        self.total = self.limit + len(ending)
        """Tokens after which every rollout is done."""
        self.step = 0
        """Tokens said so far."""
        self._policy, self._sampling = policy, sampling
        room = self.total + -(width + self.total) % WIDTH_MULTIPLE
        self._at = torch.tensor([width], device=device)
        self._step = torch.tensor([0], device=device)
        self._cache = for_rollouts(start.cache, rows=len(start.lengths), repeats=repeats, room=room, at=self._at)
        hidden = torch.finfo(policy.dtype).min
        mask = torch.where(start.attention_mask.bool(), 0.0, hidden).to(policy.dtype).repeat_interleave(repeats, 0)
        self._mask = torch.nn.functional.pad(mask, (0, room), value=hidden)[:, None, None]
        """(R, 1, 1, W), added to the scores of attention."""
        self._positions = start.lengths.repeat_interleave(repeats)[:, None]
        self._logits = start.last.logits.repeat_interleave(repeats, 0)
        self._noise = torch.from_numpy(noise).to(device)
        self._appended = torch.zeros(rows, dtype=torch.int64, device=device)
        self._ending = torch.tensor(list(ending), dtype=torch.int64, device=device)
        self._ends_turn = torch.zeros(self._logits.shape[1], dtype=torch.bool, device=device)
        self._ends_turn[torch.tensor(sorted(policy.end_ids), dtype=torch.int64, device=device)] = True
        self._drawn = torch.zeros(CHECK_EVERY, rows, dtype=torch.int64, device=device)
        self._z = torch.empty(CHECK_EVERY, rows, policy.hidden_size, dtype=policy.dtype, device=device)
        self._graph: torch.cuda.CUDAGraph | None = None

    def advance(self) -> npt.NDArray[np.int64]:
        """Say up to `CHECK_EVERY` more tokens; return what was drawn: (steps, R). This is where the host waits."""
        steps = min(CHECK_EVERY, self.total - self.step)
        for _ in range(steps):
            if self._graph is not None:
                self._graph.replay()
            else:
                # The first step of a shape is a warm-up of its graph, too.
                self._advance()
                self._graph = self._captured()
        self.step += steps
        drawn: npt.NDArray[np.int64] = self._drawn[:steps].cpu().numpy()
        return drawn

    def z_at(self, steps: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> Tensor:
        """Return z (N, d) float32 of N rows, each after a step of the last `advance`."""
        device = self._z.device
        return self._z[torch.from_numpy(steps).to(device), torch.from_numpy(rows).to(device)].float()

    def keep(self, rows: npt.NDArray[np.int64]) -> None:
        """Go on with these rows, which are in order, and no others."""
        index = torch.from_numpy(rows).to(self._at.device)
        self._graph = None
        select_rows(self._cache, index)
        self._mask, self._positions, self._logits = self._mask[index], self._positions[index], self._logits[index]
        self._noise, self._appended = self._noise[index], self._appended[index]
        self._drawn, self._z = self._drawn[:, : len(rows)].clone(), self._z[:, : len(rows)].clone()

    def _advance(self) -> None:
        """Say one token, in place and without the host."""
        noise = self._noise.index_select(1, self._step.clamp(max=self.limit - 1))[:, 0]
        drawn = said = draw_tokens(self._logits, noise, self._sampling)
        if len(self._ending):
            # The rules of `Transcripts`, which the host follows later.
            over = (self._appended > 0) | (self._step >= self.limit) | self._ends_turn[drawn]
            said = torch.where(over, self._ending[self._appended.clamp(max=len(self._ending) - 1)], drawn)
            self._appended.add_(over)
        self._mask.index_fill_(3, self._at, 0.0)
        last = self._policy.step(said[:, None], self._mask, self._positions, self._cache)
        self._logits.copy_(last.logits)
        place = self._step % CHECK_EVERY
        self._drawn.index_copy_(0, place, drawn[None])
        self._z.index_copy_(0, place, last.z[None].to(self._z.dtype))
        for counter in (self._at, self._step, self._positions):
            counter.add_(1)

    def _captured(self) -> torch.cuda.CUDAGraph | None:
        """Record a step as a graph; None where the model does something that a graph cannot hold."""
        if not self._policy.graphs or self._at.device.type != "cuda" or self.total == 1:
            return None
        device = self._at.device
        graph, stream, current = torch.cuda.CUDAGraph(), _capture_stream(device), torch.cuda.current_stream(device)
        stream.wait_stream(current)
        try:
            with torch.cuda.stream(stream):
                graph.capture_begin(capture_error_mode="thread_local")
                try:
                    self._advance()
                except BaseException:
                    # The first error says more than that nothing was recorded.
                    with suppress(RuntimeError), warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        graph.capture_end()
                    raise
                graph.capture_end()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self._policy.graphs = False
            log.warning("no CUDA graph of %s: %s", type(self._policy.model).__name__, str(error).splitlines()[0])
            return None
        current.wait_stream(stream)
        return graph


_streams: dict[torch.device, torch.cuda.Stream] = {}


def _capture_stream(device: torch.device) -> torch.cuda.Stream:
    """One stream for all captures: each keeps a workspace of the matrix library for good."""
    if device not in _streams:
        _streams[device] = torch.cuda.Stream(device)
    return _streams[device]
