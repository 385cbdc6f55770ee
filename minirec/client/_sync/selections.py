# Generated from ../_async by scripts/unasync.py. Do not edit.
"""`client.selections`: start jobs, follow them, take back what they chose."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import PrivateAttr

from minirec.api_schemas import (
    SELECTION,
    ArmIds,
    Baseline,
    SampleExplanation,
    Selection,
    SelectionPlots,
    SubsetIds,
    SubsetRow,
)
from minirec.api_schemas.selections import GateVerdict, StratifyBy
from minirec.client import exports
from minirec.client import selection_calls as calls
from minirec.client._sync.files import replacing, spool
from minirec.client._sync.jobs import Jobs, LiveJob
from minirec.client._sync.scores import Scores
from minirec.client._sync.transport import CHUNK_BYTES, Transport
from minirec.client.core import Call, parse_text
from minirec.client.refs import DatasetRef, JobRef, SampleRef, id_of, sample_of


class LiveSelection(Selection, LiveJob):
    """A selection, and what can be done with it."""

    _jobs: Selections = PrivateAttr()

    def scores(
        self,
        *,
        order: calls.Order = "pool",
        ascending: bool = False,
        picked: bool | None = None,
        gate: GateVerdict | None = None,
        limit: int | None = None,
    ) -> Scores:
        """Return the scores of every sample, as rows or as a table.

        Args:
            order: As in `Selections.scores`.
            ascending: Turn the order around.
            picked: Only picked samples, or only the others.
            gate: Only samples with this verdict.
            limit: Most rows.
        """
        return self._jobs.scores(self.id, order=order, ascending=ascending, picked=picked, gate=gate, limit=limit)

    def explain(self, sample: SampleRef) -> SampleExplanation:
        """Return one sample, explained; see `Selections.explain`."""
        return self._jobs.explain(self.id, sample)

    def plots(self) -> SelectionPlots:
        """Return histograms, points and counts to draw this selection with."""
        return self._jobs.plots(self.id)

    def subset(self) -> SubsetIds:
        """Return the selected ids and their curriculum groups, in training order."""
        return self._jobs.subset(self.id)

    def subset_rows(self) -> Iterator[SubsetRow]:
        """Yield the selected samples with their scores, in training order."""
        return self._jobs.subset_rows(self.id)

    def download_subset(self, path: str | os.PathLike[str], *, format: calls.SubsetFormat = "jsonl") -> Path:
        """Write the subset to `path`, whole or not at all."""
        return self._jobs.download_subset(self.id, path, format=format)

    def download_report(self, path: str | os.PathLike[str]) -> Path:
        """Write this selection, explained, to `path` as one HTML file, whole or not at all."""
        return self._jobs.download_report(self.id, path)

    def export(
        self,
        *,
        format: exports.ExportFormat,
        path: str | os.PathLike[str],
        batch_size: int | None = None,
        source: str | None = None,
    ) -> Path:
        """Make a folder at `path` of what a trainer reads; see `Selections.export`."""
        return self._jobs.export(self.id, format=format, path=path, batch_size=batch_size, source=source)


class Selections(Jobs[LiveSelection]):
    """Start selections, follow them, read their scores and subsets."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport, SELECTION, LiveSelection)

    def create(
        self,
        *,
        dataset: DatasetRef,
        size: int | float,
        model: calls.Model | None = None,
        proxy: calls.Proxy | None = None,
        signals: Literal["uploaded"] | None = None,
        rewards: calls.TextRewards | None = None,
        profile: Literal["minirec", "paper"] | None = None,
        pool: calls.Pool | None = None,
        rollouts: calls.Rollouts | None = None,
        weights: calls.Weights | None = None,
        curriculum: calls.Curriculum | None = None,
        texts: calls.Texts | None = None,
        stratify_by: StratifyBy | None = None,
        baselines: Sequence[Baseline] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> LiveSelection:
        """Start a selection of `size` samples (an integer), or of a part of the pool (a number below 1).

        What is not given keeps the service's defaults; docs/method.md explains every setting.

        Args:
            dataset: The dataset, or its id.
            size: How many samples, or which part of the pool.
            model: Hub id, or a `ModelReference`, which may have an adapter. Uploaded `signals` need none.
            proxy: Train a proxy first, or name an adapter to use as one.
            signals: `"uploaded"` chooses by rewards that were uploaded for the dataset.
            rewards: What answers to a dataset of prompts earn: names, or `{"name", "weight"}`.
            profile: `"paper"` for the published computation.
            pool: Which samples to choose from: split, maximal number, seed.
            rollouts: How answers are sampled.
            weights: What L and R count, and the gate.
            curriculum: The order of the picks.
            texts: Which of the rollouts' texts are kept for people to read.
            stratify_by: Spread the choice over users, targets or sources, each in proportion to its samples.
            baselines: Other methods to compare with, on the same scores.
            metadata: Kept with the selection.

        Raises:
            UnprocessableError: Its `errors` name the settings at fault.
        """
        call = calls.create(
            dataset=id_of(dataset, "dataset"),
            model=model,
            size=size,
            metadata=metadata,
            proxy=proxy,
            signals=signals,
            rewards=calls.named(rewards),
            profile=profile,
            pool=pool,
            rollouts=rollouts,
            weights=weights,
            curriculum=curriculum,
            texts=texts,
            stratify_by=stratify_by,
            baselines=None if baselines is None else list(baselines),
        )
        return self._job(call)

    def scores(
        self,
        selection_id: JobRef,
        *,
        order: calls.Order = "pool",
        ascending: bool = False,
        picked: bool | None = None,
        gate: GateVerdict | None = None,
        limit: int | None = None,
    ) -> Scores:
        """Return the scores of every sample: iterate over them, or take them as a table by `to_pandas()` and the like.

        Args:
            selection_id: A finished selection, or its id.
            order: `pool` as in the dataset, `rank` the picked ones first, as picked; else highest first by that number.
            ascending: Turn the order around.
            picked: Only picked samples, or only the others.
            gate: Only samples with this verdict.
            limit: Most rows.
        """
        params = {"order": order, "ascending": ascending or None, "picked": picked, "gate": gate}
        return Scores(self._transport, calls.scores(self._id(selection_id), **params), limit=limit)

    def baseline(self, selection_id: JobRef, baseline: Baseline) -> ArmIds:
        """Return the picks of a baseline from the same scores; one that the selection named in `baselines`."""
        return self._transport.get(Call("GET", f"/v1/selections/{self._id(selection_id)}/baselines/{baseline}"), ArmIds)

    def subset(self, selection_id: JobRef) -> SubsetIds:
        """Return the selected ids and their curriculum groups, in training order."""
        return self._transport.get(calls.subset(self._id(selection_id), "ids"), SubsetIds)

    def subset_rows(self, selection_id: JobRef) -> Iterator[SubsetRow]:
        """Yield the selected samples with their scores, in training order."""
        with spool() as file:
            response = self._transport.copy(calls.subset(self._id(selection_id), "jsonl"), file)
            file.seek(0)
            while lines := file.readlines(CHUNK_BYTES):
                for line in lines:
                    yield parse_text(response, line, SubsetRow)

    def download_subset(
        self, selection_id: JobRef, path: str | os.PathLike[str], *, format: calls.SubsetFormat = "jsonl"
    ) -> Path:
        """Write the subset to `path`, whole or not at all."""
        target = Path(path)
        with replacing(target) as file:
            self._transport.copy(calls.subset(self._id(selection_id), format), file)
        return target

    def explain(self, selection_id: JobRef, sample_id: SampleRef) -> SampleExplanation:
        """Return one sample of a finished selection: titles, rollouts with their texts, and why it was picked or not.

        Raises:
            NotFoundError: The pool has no such sample.
        """
        return self._transport.get(calls.explain(self._id(selection_id), sample_of(sample_id)), SampleExplanation)

    def plots(self, selection_id: JobRef) -> SelectionPlots:
        """Return histograms, points and counts to draw a finished selection with, of a bounded size."""
        return self._transport.get(calls.plots(self._id(selection_id)), SelectionPlots)

    def download_report(self, selection_id: JobRef, path: str | os.PathLike[str]) -> Path:
        """Write a finished selection, explained, to `path` as one HTML file, whole or not at all."""
        target = Path(path)
        with replacing(target) as file:
            self._transport.copy(calls.report(self._id(selection_id)), file)
        return target

    def export(
        self,
        selection_id: JobRef,
        *,
        format: exports.ExportFormat,
        path: str | os.PathLike[str],
        batch_size: int | None = None,
        source: str | None = None,
    ) -> Path:
        """Make a folder at `path` of what a trainer reads: data in training order, `manifest.json`, `README.md`.

        Args:
            selection_id: A finished selection, or its id.
            format: Whose files: a trainer's, or plain ones.
            path: The folder. It must not exist, or be empty.
            batch_size: Prompts in a batch of the trainer; rows that would not fill one are warned of in both files.
            source: Name of the data, by which verl chooses the reward function; the dataset's name unless given.

        Raises:
            FileExistsError: There are files in the folder.
        """
        folder = exports.empty_folder(path)
        with spool() as file:
            self._transport.copy(exports.export(self._id(selection_id), format, batch_size, source), file)
            exports.unpack(file, folder)
        return folder
