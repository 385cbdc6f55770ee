"""`client.selections`: start jobs, follow them, take back what they chose."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import httpx2

from api_schemas import TERMINAL, ArmIds, Baseline, Event, Page, SampleScore, Selection, Status, SubsetIds, SubsetRow
from minirec.client import exports
from minirec.client import selection_calls as calls
from minirec.client.core import SPOOL_BYTES, STREAM_RETRIES, Call, Retries, parse_text
from minirec.client.errors import APIResponseError
from minirec.client.transport import Transport


class Selections:
    """Start selections, follow them, read their scores and subsets."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        *,
        dataset: str,
        size: int | float,
        model: calls.Model | None = None,
        proxy: calls.Proxy | None = None,
        signals: Literal["uploaded"] | None = None,
        profile: Literal["minirec", "paper"] | None = None,
        pool: calls.Pool | None = None,
        rollouts: calls.Rollouts | None = None,
        weights: calls.Weights | None = None,
        curriculum: calls.Curriculum | None = None,
        baselines: Sequence[Baseline] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Selection:
        """Start a selection of `size` samples (an integer), or of a part of the pool (a number below 1).

        `model` is a hub id or a `ModelReference`; uploaded `signals` need none. What is not given keeps the service's
        defaults. Raises `UnprocessableError` whose `errors` name the settings at fault.
        """
        call = calls.create(
            dataset=dataset,
            model=model,
            size=size,
            metadata=metadata,
            proxy=proxy,
            signals=signals,
            profile=profile,
            pool=pool,
            rollouts=rollouts,
            weights=weights,
            curriculum=curriculum,
            baselines=None if baselines is None else list(baselines),
        )
        return self._transport.get(call, Selection)

    def retrieve(self, selection_id: str) -> Selection:
        """One selection as it is now."""
        return self._transport.get(calls.retrieve(selection_id), Selection)

    def list(
        self, *, status: Status | None = None, dataset: str | None = None, after: str | None = None
    ) -> Iterator[Selection]:
        """All selections, newest first; pages are fetched as the iteration reaches them."""
        while True:
            page = self._transport.get(calls.page(after, status, dataset), Page[Selection])
            yield from page.data
            after = page.next_after
            if not page.has_more:
                return

    def cancel(self, selection_id: str) -> Selection:
        """Ask a selection to stop; what it has finished is kept. Raises `ConflictError` when it is already over."""
        return self._transport.get(calls.act(selection_id, "cancel"), Selection)

    def retry(self, selection_id: str) -> Selection:
        """Go on with a failed or cancelled selection from what is finished. Raises `ConflictError` for any other."""
        return self._transport.get(calls.act(selection_id, "retry"), Selection)

    def wait(
        self,
        selection_id: str,
        *,
        timeout: float | None = None,
        on_update: Callable[[Selection], None] | None = None,
    ) -> Selection:
        """The finished selection; `on_update` sees it at first and whenever status, stage or counts change.

        Survives a service that is away for up to a minute. Raises `JobFailedError`, `JobCancelledError`, or after
        `timeout` seconds `WaitTimeoutError`; the job does not notice how the waiting ends.
        """
        deadline = calls.Deadline(timeout, self._transport.clock())
        selection = self.retrieve(selection_id)
        if on_update is not None:
            on_update(selection)
        while not calls.finished(selection):
            left = deadline.left(selection, self._transport.clock())
            newer = self._transport.get(calls.poll(selection_id, left), Selection, retries=STREAM_RETRIES)
            if calls.changed(selection, newer):
                if on_update is not None:
                    on_update(newer)
            else:
                self._transport.sleep(calls.IDLE_PAUSE)
            selection = newer
        return selection

    def events(self, selection_id: str, *, after: str | None = None) -> Iterator[Event]:
        """What happens to a selection, live, until it is over; `after` goes on behind an event seen earlier.

        Reconnects where the connection breaks and misses nothing.
        """
        retries = Retries(STREAM_RETRIES)
        while True:
            silent = True
            try:
                with self._transport.stream(calls.stream_events(selection_id, after), retries) as response:
                    for message in httpx2.EventSource(response):
                        if not message.data:
                            continue
                        event = parse_text(response, message.data, Event)
                        silent, after, retries = False, event.id, Retries(STREAM_RETRIES)
                        yield event
                        if calls.is_last(event):
                            return
            except httpx2.SSEError as error:
                raise APIResponseError(response, str(error)) from error
            except httpx2.TransportError as error:
                self._transport.sleep(retries.after_error(error))
                continue
            selection = self.retrieve(selection_id)
            if silent and selection.status in TERMINAL:
                return
            self._transport.sleep(calls.IDLE_PAUSE)

    def scores(self, selection_id: str, *, order: calls.Order = "pool") -> Iterator[SampleScore]:
        """What was measured of every sample: in the pool's order, or (`rank`) the picked ones first, as picked."""
        after = None
        while True:
            page = self._transport.get(calls.scores(selection_id, after, order), Page[SampleScore])
            yield from page.data
            after = page.next_after
            if not page.has_more:
                return

    def baseline(self, selection_id: str, baseline: Baseline) -> ArmIds:
        """What a baseline chose from the same scores; one that the selection named in `baselines`."""
        return self._transport.get(Call("GET", f"/v1/selections/{selection_id}/baselines/{baseline}"), ArmIds)

    def subset(self, selection_id: str) -> SubsetIds:
        """The selected ids and their curriculum groups, in training order."""
        return self._transport.get(calls.subset(selection_id, "ids"), SubsetIds)

    def subset_rows(self, selection_id: str) -> Iterator[SubsetRow]:
        """The selected samples with their scores, in training order."""
        with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as file:
            response = self._transport.copy(calls.subset(selection_id, "jsonl"), file)
            file.seek(0)
            for line in file:
                yield parse_text(response, line, SubsetRow)

    def download_subset(
        self, selection_id: str, path: str | os.PathLike[str], *, format: calls.SubsetFormat = "jsonl"
    ) -> Path:
        """Write the subset to `path`, whole or not at all."""
        target = Path(path)
        with calls.replacing(target) as file:
            self._transport.copy(calls.subset(selection_id, format), file)
        return target

    def export(
        self,
        selection_id: str,
        *,
        format: exports.ExportFormat,
        path: str | os.PathLike[str],
        batch_size: int | None = None,
        source: str | None = None,
    ) -> Path:
        """Make a folder at `path` of what a trainer reads: data in training order, `manifest.json`, `README.md`.

        The folder must not exist, or be empty. `batch_size` is the number of prompts in a batch of the trainer, to be
        warned (in both files) of rows that would not fill one. `source` names the data; verl chooses the reward
        function by it. Null takes the dataset's name.
        """
        folder = exports.empty_folder(path)
        with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as file:
            self._transport.copy(exports.export(selection_id, format, batch_size, source), file)
            exports.unpack(file, folder)
        return folder
