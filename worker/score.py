"""Score a shard of the pool: one rollout pass gives rewards, gradients, Hessian-vector products, embeddings."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import fields

from api_schemas import EngineServer
from api_schemas.datasets import Kind
from minirec.engines import engine_allowed
from minirec.policy.engine_server import ServerEngine
from minirec.policy.policy import Policy
from minirec.policy.scored import Scored
from minirec.policy.scoring import score_samples
from minirec.policy.text_scoring import score_prompts
from minirec.rewards import Scorer
from minirec.specs import ScoreSpec
from minirec.store import Store
from minirec.store.blobs import Arrays
from minirec.store.machine import Outcome
from minirec.store.texts import text_arrays
from worker.catalogue import load_catalogue
from worker.datasets import open_dataset, open_prompts, open_samples
from worker.policies import scoring_policy
from worker.pools import pool_of
from worker.shards import Measure, score_shard
from worker.work import UnitError, Work


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
                server = stack.enter_context(_server(policy, spec.rollouts.engine, work))
                return _by_server(work.store, spec, policy, server, rows)
            return MEASURES[spec.kind](work.store, spec, policy)

        return score_shard(work, spec, rows, [ids[row] for row in rows], start_measuring)


def _server(policy: Policy, engine: EngineServer, work: Work) -> ServerEngine:
    """Return the engine of an inference server. Raises UnitError where this worker may not ask it."""
    if not engine_allowed(engine.url, work.settings.engine_urls):
        raise UnitError(
            "engine_not_allowed",
            f"rollouts.engine.url {engine.url} is not among the inference servers that this worker may ask "
            f"({', '.join(work.settings.engine_urls) or 'none'}): set its MINIREC_ENGINE_URLS as that of the service",
        )
    return ServerEngine(policy, engine)


def _by_server(store: Store, spec: ScoreSpec, policy: Policy, server: ServerEngine, shard: list[int]) -> Measure:
    """Measure samples that a server rolls out: it starts with all of the shard that follows the first part asked for.

    Parts behind that which an earlier attempt has measured are few: parts are measured in order.
    """
    assert spec.catalogue is not None
    dataset, catalogue = open_dataset(store.blobs, spec.content_hash), load_catalogue(store, spec.catalogue)
    started = False

    def measure(rows: list[int]) -> Arrays:
        nonlocal started
        samples = [dataset.sample(row) for row in rows]
        ahead = [] if started else [dataset.sample(row) for row in shard[shard.index(rows[-1]) + 1 :]]
        started = True
        scored = score_samples(
            policy,
            catalogue,
            dataset.items,
            samples,
            rollouts=spec.rollouts,
            profile=spec.profile,
            texts=texts_of(spec),
            server=server,
            ahead=ahead,
        )
        return arrays_of(scored, spec)

    return _measure(measure, spec, policy)


def _of_samples(store: Store, spec: ScoreSpec, policy: Policy) -> Measure:
    """Roll out samples, and rank their targets in the catalogue."""
    assert spec.catalogue is not None
    dataset, catalogue = open_dataset(store.blobs, spec.content_hash), load_catalogue(store, spec.catalogue)

    def measure(rows: list[int]) -> Arrays:
        samples = [dataset.sample(row) for row in rows]
        scored = score_samples(
            policy,
            catalogue,
            dataset.items,
            samples,
            rollouts=spec.rollouts,
            profile=spec.profile,
            texts=texts_of(spec),
        )
        return arrays_of(scored, spec)

    return _measure(measure, spec, policy)


def _of_prompts(store: Store, spec: ScoreSpec, policy: Policy) -> Measure:
    """Answer prompts, and add up what the answers earn."""
    dataset, scorer = open_prompts(store.blobs, spec.content_hash), Scorer(spec.rewards or ())

    def measure(rows: list[int]) -> Arrays:
        prompts = [dataset.prompt(row) for row in rows]
        return arrays_of(score_prompts(policy, prompts, scorer, rollouts=spec.rollouts, texts=texts_of(spec)), spec)

    return _measure(measure, spec, policy)


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


MEASURES: dict[Kind, Callable[[Store, ScoreSpec, Policy], Measure]] = {
    "interactions": _of_samples,
    "prompts": _of_prompts,
}
"""What is measured of which kind of dataset."""
