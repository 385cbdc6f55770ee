"""Score a shard of the pool: one rollout pass gives rewards, gradients, Hessian-vector products, embeddings."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import fields

from minirec.api_schemas import EngineServer
from minirec.api_schemas.datasets import Kind
from minirec.engines import engine_allowed
from minirec.policy.answers import TextTranscripts
from minirec.policy.engine_server import ServerEngine
from minirec.policy.policy import Policy
from minirec.policy.rollouts import Transcripts
from minirec.policy.scored import Scored
from minirec.policy.scoring import score_samples
from minirec.policy.text_scoring import score_prompts
from minirec.rewards import Scorer
from minirec.specs import ScoreSpec
from minirec.store import Store
from minirec.store.blobs import Arrays
from minirec.store.machine import Outcome
from minirec.store.texts import text_arrays
from minirec.worker.catalogue import load_catalogue
from minirec.worker.datasets import open_dataset, open_prompts, open_samples
from minirec.worker.policies import scoring_policy
from minirec.worker.pools import pool_of
from minirec.worker.shards import Measure, score_shard
from minirec.worker.work import UnitError, Work


def run(work: Work, spec: ScoreSpec) -> Outcome:
    """Measure the unit's samples, with the measure for their kind of dataset."""
    blobs = work.store.blobs
    start = work.claim.unit * spec.shard_size
    rows = pool_of(blobs, spec)[start : start + spec.shard_size].tolist()
    ids = open_samples(blobs, spec.content_hash, spec.kind).ids

    with ExitStack() as stack:

        def start_measuring() -> Measure:
            policy = scoring_policy(spec.model, spec.proxy, work.settings, blobs)
            if isinstance(spec.rollouts.engine, EngineServer):
                server = stack.enter_context(_server(policy, spec, spec.rollouts.engine, work))
                return _by_server(work.store, spec, policy, server, rows)
            return _by_policy(work.store, spec, policy)

        return score_shard(work, spec, rows, [ids[row] for row in rows], start_measuring)


def _server(policy: Policy, spec: ScoreSpec, engine: EngineServer, work: Work) -> ServerEngine:
    """Return the engine of an inference server. Raises UnitError where this worker may not ask it."""
    if not engine_allowed(engine.url, work.settings.engine_urls):
        raise UnitError(
            "engine_not_allowed",
            f"rollouts.engine.url {engine.url} is not among the inference servers that this worker may ask "
            f"({', '.join(work.settings.engine_urls) or 'none'}): set its MINIREC_ENGINE_URLS as that of the service",
        )
    return ServerEngine(policy, engine, ending=Transcripts if spec.kind == "interactions" else TextTranscripts)


def _by_server(store: Store, spec: ScoreSpec, policy: Policy, server: ServerEngine, shard: list[int]) -> Measure:
    """Measure what a server rolls out: it starts with all of the shard that follows the first part asked for.

    Parts behind that which an earlier attempt has measured are few: parts are measured in order.
    """
    score = SCORERS[spec.kind](store, spec, policy)
    started = False

    def measure(rows: list[int]) -> Arrays:
        nonlocal started
        ahead = [] if started else shard[shard.index(rows[-1]) + 1 :]
        started = True
        return arrays_of(score(rows, ahead, server), spec)

    return _measure(measure, spec, policy)


def _by_policy(store: Store, spec: ScoreSpec, policy: Policy) -> Measure:
    """Measure what the policy rolls out itself."""
    score = SCORERS[spec.kind](store, spec, policy)
    return _measure(lambda rows: arrays_of(score(rows, [], None), spec), spec, policy)


Score = Callable[[list[int], list[int], ServerEngine | None], Scored]
"""Scores some rows; the rows that follow; the server that samples."""


def _of_samples(store: Store, spec: ScoreSpec, policy: Policy) -> Score:
    """Roll out samples, and rank their targets in the catalogue."""
    assert spec.catalogue is not None
    dataset, catalogue = open_dataset(store.blobs, spec.content_hash), load_catalogue(store, spec.catalogue)

    def score(rows: list[int], ahead: list[int], server: ServerEngine | None) -> Scored:
        return score_samples(
            policy,
            catalogue,
            dataset.items,
            [dataset.sample(row) for row in rows],
            rollouts=spec.rollouts,
            profile=spec.profile,
            texts=texts_of(spec),
            server=server,
            ahead=[dataset.sample(row) for row in ahead],
        )

    return score


def _of_prompts(store: Store, spec: ScoreSpec, policy: Policy) -> Score:
    """Answer prompts, and add up what the answers earn."""
    dataset, scorer = open_prompts(store.blobs, spec.content_hash), Scorer(spec.rewards or ())

    def score(rows: list[int], ahead: list[int], server: ServerEngine | None) -> Scored:
        return score_prompts(
            policy,
            [dataset.prompt(row) for row in rows],
            scorer,
            rollouts=spec.rollouts,
            texts=texts_of(spec),
            server=server,
            ahead=[dataset.prompt(row) for row in ahead],
        )

    return score


def _measure(of: Callable[[list[int]], Arrays], spec: ScoreSpec, policy: Policy) -> Measure:
    on_gpu = policy.device.type == "cuda"
    return Measure(of, policy.samples_at_once(spec.rollouts.group_size), "cuda" if on_gpu else "cpu")


def texts_of(spec: ScoreSpec) -> int:
    """Return how many texts of each sample are kept."""
    return 0 if spec.texts is None else spec.texts.rollouts


def arrays_of(scored: Scored, spec: ScoreSpec) -> Arrays:
    """Return what was measured as arrays, the texts that are kept among them."""
    arrays = {field.name: getattr(scored, field.name) for field in fields(scored) if field.name != "texts"}
    if spec.texts is not None:
        arrays |= text_arrays(scored.texts, characters=spec.texts.characters)
    return arrays


SCORERS: dict[Kind, Callable[[Store, ScoreSpec, Policy], Score]] = {
    "interactions": _of_samples,
    "prompts": _of_prompts,
}
"""What is measured of which kind of dataset."""
