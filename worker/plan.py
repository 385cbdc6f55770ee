"""What a selection needs done, named by content: equal work has an equal name and is done once."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from api_schemas import ProxySettings, SelectionCreate
from minirec.settings import Settings
from minirec.store.machine import Stage

SCORING_VERSION = 2
"""Raise when the same inputs would be scored differently: cached scores of older code are then left alone."""
TRAINING_VERSION = 1
"""The same for proxies, training jobs and their evaluations."""


def fingerprint(**parts: Any) -> str:
    """A short name for a set of JSON values."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def rows_fingerprint(rows: npt.NDArray[np.int64]) -> str:
    return hashlib.sha256(np.ascontiguousarray(rows, dtype="<i8").tobytes()).hexdigest()[:24]


@dataclass(frozen=True, slots=True)
class Basis:
    """What a plan is made from, by content."""

    content_hash: str
    rows: str
    """Fingerprint of the pool's rows."""
    model: dict[str, Any]
    """The pinned model reference."""
    model_fingerprint: str
    prompt: str


@dataclass(frozen=True, slots=True)
class Names:
    """Content-addressed names of a selection's expensive parts."""

    proxy: str | None
    catalogue: str
    scoring: str


def names(request: SelectionCreate, basis: Basis) -> Names:
    """Everything that could change a number of a part is in the part's name."""
    # A proxy is trained with tokens from transformers, whichever engine samples for the scores.
    rollouts = request.rollouts.model_dump(mode="json", exclude={"engine"})
    proxy = None
    if isinstance(request.proxy, ProxySettings):
        proxy = fingerprint(
            content=basis.content_hash,
            rows=basis.rows,
            model=basis.model_fingerprint,
            prompt=basis.prompt,
            rollouts=rollouts,
            settings=request.proxy.identity(),
            version=TRAINING_VERSION,
        )
    catalogue = catalogue_name(basis.content_hash, basis.model_fingerprint, proxy=proxy, prompt=basis.prompt)
    rewards = {} if request.rewards is None else {"rewards": [reward.model_dump() for reward in request.rewards]}
    scoring = fingerprint(
        **rewards,
        catalogue=catalogue,
        rows=basis.rows,
        rollouts=rollouts,
        engine=request.rollouts.engine,
        profile=request.profile,
        version=SCORING_VERSION,
    )
    return Names(proxy, catalogue, scoring)


def catalogue_name(content_hash: str, model_fingerprint: str, *, proxy: str | None, prompt: str) -> str:
    return fingerprint(content=content_hash, model=model_fingerprint, proxy=proxy, prompt=prompt)


def stages(
    request: SelectionCreate,
    basis: Basis,
    names: Names,
    *,
    selection_id: str,
    items: int,
    samples: int,
    settings: Settings,
) -> list[Stage]:
    """The stages that follow `preparing`."""
    common = {"content_hash": basis.content_hash, "model": basis.model, "proxy": names.proxy}
    rollouts = request.rollouts.model_dump(mode="json")
    score = common | {
        "name": names.scoring,
        "rollouts": rollouts,
        "shard_size": settings.shard_size,
        "micro_batch": settings.micro_batch,
    }
    if request.rewards is None:
        score |= {"catalogue": names.catalogue, "profile": request.profile}
    else:
        score |= {"rewards": [reward.model_dump() for reward in request.rewards]}
    catalogue = Stage(
        name="embedding_catalogue",
        group=catalogue_group(names.catalogue),
        queue="gpu",
        handler="catalogue",
        units=_shards(items, settings.catalogue_shard_size),
        total=items,
        spec=json.dumps(common | {"name": names.catalogue, "shard_size": settings.catalogue_shard_size}),
    )
    scoring = Stage(
        name="scoring",
        group=scoring_group(names.scoring),
        queue="gpu",
        handler="score" if request.rewards is None else "score_prompts",
        units=_shards(samples, settings.shard_size),
        total=samples,
        spec=json.dumps(score),
    )
    planned = [catalogue, scoring] if request.rewards is None else [scoring]
    planned.append(selecting(selection_id, scoring=names.scoring))
    if names.proxy is not None and isinstance(request.proxy, ProxySettings):
        proxy = common | {
            "proxy": None,
            "name": names.proxy,
            "rollouts": rollouts,
            "settings": request.proxy.model_dump(mode="json"),
        }
        updates = request.proxy.updates
        planned.insert(
            0, Stage("training_proxy", f"proxy:{names.proxy}", "train", "proxy", 1, updates, json.dumps(proxy))
        )
    return planned


def selecting(selection_id: str, **sources: str) -> Stage:
    """The last stage, which only reads what was measured."""
    spec = json.dumps({"selection_id": selection_id, **sources})
    return Stage("selecting", f"select:{selection_id}", "cpu", "select", 1, 1, spec)


def _shards(total: int, size: int) -> int:
    return -(-total // size)


def catalogue_group(catalogue: str) -> str:
    return f"catalogue:{catalogue}"


def scoring_group(scoring: str) -> str:
    return f"score:{scoring}"


def pool_blob(name: str) -> str:
    """Row numbers of the pool that something was made from."""
    return f"pools/{name}.safetensors"


def proxy_file(name: str, file: str) -> str:
    """A file of a trained proxy's adapter folder."""
    return f"proxies/{name}/adapter/{file}"


def training_file(name: str, file: str) -> str:
    """A file that a training run left: its adapter, its metrics, its summary."""
    return f"trainings/{name}/{file}"


def ranking_blob(name: str) -> str:
    """How a policy ranks held-out targets, as JSON."""
    return f"rankings/{name}.json"


def evaluation_blob(job: str) -> str:
    """All evaluations of a training job, as JSON."""
    return f"training_jobs/{job}/evaluation.json"


def shard_blob(spec: dict[str, Any], shard: int) -> str:
    """All that was measured of a shard: rewards, gradients, Hessian-vector products, embeddings.

    Sizes are part of the names: an operator may change them while blobs of the old sizes are still there.
    """
    return f"scorings/{spec['name']}/{spec['shard_size']}/shard-{shard:06d}.safetensors"


def part_blob(spec: dict[str, Any], shard: int, part: int) -> str:
    """A checkpoint within a shard: everything that was measured of one micro-batch."""
    sizes = f"{spec['shard_size']}/{spec['micro_batch']}"
    return f"scorings/{spec['name']}/{sizes}/part-{shard:06d}-{part:04d}.safetensors"


def catalogue_blob(spec: dict[str, Any], shard: int) -> str:
    """Unit vectors of a shard of the catalogue."""
    return f"catalogues/{spec['name']}/{spec['shard_size']}/{shard:06d}.safetensors"


def scores_columns(scoring: str) -> str:
    """Column name of a pool's rewards."""
    return f"scores:{scoring}"
