"""What a model is computed in is settled before anything is named by it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from minirec.policy.devices import runs
from minirec.policy.reference import resolve
from minirec.settings import Settings
from minirec.specs import DeviceType, ScoreSpec
from minirec.store.devices import Device
from minirec.worker import devices, policies, score
from minirec.worker.runner import Runner
from tests.worker.bench import Bench
from tests.worker.test_training_jobs import body


def spec_of(bench: Bench, job: str) -> ScoreSpec:
    """What a selection's samples are scored with."""
    stages = map(json.loads, bench.store.redis.lrange(f"{bench.store.prefix}job:{job}:stages", 0, -1))
    [spec] = [stage["spec"] for stage in stages if stage["name"] == "scoring"]
    return ScoreSpec.read(json.loads(spec))


def configured(bench: Bench, **settings: Any) -> None:
    bench.settings = bench.settings.model_copy(update=settings)
    bench.runner = Runner(bench.store, bench.settings, bench.runner._stopping)


def test_auto_is_what_the_workers_report(bench: Bench) -> None:
    jobs = []
    for device in (Device("cpu", "float32"), Device("cuda", "bfloat16")):
        bench.store.devices.report(device)
        jobs.append(bench.create())
        bench.hear(queue="cpu")
        provenance = bench.store.jobs.get(jobs[-1]).json("provenance")
        assert (provenance["model"]["dtype"], provenance["device"]) == (device.dtype, device.type)
        assert spec_of(bench, jobs[-1]).model.device == device.type
    assert spec_of(bench, jobs[0]).name != spec_of(bench, jobs[1]).name
    assert spec_of(bench, jobs[0]).catalogue != spec_of(bench, jobs[1]).catalogue


@pytest.mark.parametrize("create", [Bench.create, lambda bench: bench.train(**body(args={"updates": 1}))])
def test_where_no_worker_has_reported_one_of_the_gpu_queue_prepares_the_job(bench: Bench, create: Any) -> None:
    bench.store.redis.delete(f"{bench.store.prefix}device")
    job = create(bench)
    bench.hear(queue="cpu")
    assert [bell.queue for bell in bench.doorbells] == ["gpu"]
    assert bench.store.jobs.get(job).fields["stage"] == "preparing"
    bench.hear()
    assert bench.store.jobs.get(job).status == "succeeded"
    assert bench.store.devices.last() == devices.this_device()
    assert bench.store.jobs.get(job).json("provenance")["device"] == devices.this_device().type


def test_a_setting_of_the_deployment_says_what_auto_is(bench: Bench) -> None:
    bench.store.devices.report(Device("cuda", "bfloat16"))
    configured(bench, dtype="float32")
    given, named = bench.create(), bench.create(model={"source": "local", "id": "tiny", "dtype": "bfloat16"})
    bench.hear()
    assert (spec_of(bench, given).model.dtype, spec_of(bench, given).model.device) == ("float32", None)
    assert spec_of(bench, named).model.dtype == "bfloat16", "whoever names a dtype gets it"
    for job in (given, named):
        assert bench.store.jobs.get(job).status == "succeeded"


@pytest.mark.parametrize(("value", "dtype"), [("", None), ("auto", None), ("float16", "float16")])
def test_an_empty_setting_is_none(monkeypatch: pytest.MonkeyPatch, value: str, dtype: str | None) -> None:
    monkeypatch.setenv("MINIREC_DTYPE", value)
    assert Settings().dtype == dtype


@pytest.mark.skipif(devices.this_device().type != "cpu", reason="a worker on a CPU refuses")
def test_a_worker_on_a_cpu_refuses_what_was_planned_for_a_gpu(bench: Bench) -> None:
    bench.store.devices.report(Device("cuda", "bfloat16"))
    job = bench.create()
    bench.hear()
    error = bench.store.jobs.get(job).json("error")
    assert error["code"] == "wrong_device"
    assert "became bfloat16 for workers on cuda, and this worker runs on cpu" in error["message"]
    assert "MINIREC_DTYPE" in error["message"]


def test_a_worker_refuses_a_dtype_that_its_device_lacks(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "runs", lambda dtype: dtype == "float32")
    job = bench.create(model={"source": "local", "id": "tiny", "dtype": "float16"})
    bench.hear()
    error = bench.store.jobs.get(job).json("error")
    assert error["code"] == "dtype_unsupported"
    assert "cannot compute in float16" in error["message"]


def test_what_scored_the_pool_is_in_the_provenance_and_a_mixture_is_a_warning(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the dtype is named, workers on both kinds of device take shards of the same scores."""
    model = {"source": "local", "id": "tiny", "dtype": "float32"}
    on_cpus = bench.create(model=model)
    bench.hear()
    record = bench.store.jobs.get(on_cpus)
    assert record.json("provenance")["scored_on"] == ["cpu"]
    assert not [text for text in record.json("result")["warnings"] if "scored on" in text]

    kinds: Iterator[DeviceType] = iter(["cuda", "cpu", "cpu"])
    measure = score._measure
    monkeypatch.setattr(score, "_measure", lambda *given: replace(measure(*given), device=next(kinds)))
    mixed = bench.create(model=model, rollouts={"group_size": 2, "max_new_tokens": 7})
    bench.hear()
    record = bench.store.jobs.get(mixed)
    assert record.json("provenance")["scored_on"] == ["cpu", "cuda"]
    assert [text for text in record.json("result")["warnings"] if "scored on cpu and cuda" in text]
    assert record.json("provenance")["model"]["dtype"] == "float32"


def test_every_worker_runs_float32() -> None:
    assert runs("float32")


def test_a_model_is_resolved_once_per_unit(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    resolved: list[int] = []

    def counts(*arguments: Any, **settings: Any) -> Any:
        resolved.append(1)
        return resolve(*arguments, **settings)

    monkeypatch.setattr(policies, "resolve", counts)
    bench.create()
    assert bench.hear().count("committed") == 10
    assert len(resolved) == 8, (
        "preparing, checking, three shards of the catalogue, three of the pool with two parts each"
    )
