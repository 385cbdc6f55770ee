"""The end of jobs: what is deleted with them."""

from __future__ import annotations

from minirec.store import Store
from minirec.store.errors import InUseError
from minirec.store.names import result_columns


def delete_job(store: Store, job_id: str) -> None:
    """Delete a job's record, events and results. Raises NotFoundError, InUseError."""
    record = store.jobs.get(job_id)
    for active in store.jobs.active():
        request = active.json("request") or {}
        if job_id in (active.id, request.get("selection_id")):
            raise InUseError(f"{job_id} is used by {active.id}", by=active.id)
    job = f"{store.prefix}job:{job_id}"
    pipe = store.redis.pipeline()
    pipe.zrem(f"{store.prefix}jobs:{record.kind}", job_id)
    pipe.delete(job, f"{job}:stages", f"{job}:events", f"{store.prefix}columns:{result_columns(job_id)}")
    pipe.execute()
