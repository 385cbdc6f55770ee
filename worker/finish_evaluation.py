"""Last stage of an evaluation: what was measured, by this job or by an earlier one, becomes the job's result."""

from __future__ import annotations

from minirec.api_schemas import EvaluationResult, Ranking, TextScore
from minirec.specs import FinishEvaluation
from minirec.specs.outputs import evaluation_blob
from minirec.store.machine import Outcome
from minirec.worker.work import Work


def run(work: Work, spec: FinishEvaluation) -> Outcome:
    """Read the measurement. Raises BlobMissingError."""
    found = work.store.blobs.local_path(evaluation_blob(spec.evaluation)).read_bytes()
    work.done = 1
    return Outcome(job={"result": result_of(found).model_dump_json()})


def result_of(measured: bytes) -> EvaluationResult:
    """Return the result for a measurement, which is a `Ranking` or a `TextScore` as JSON."""
    if b'"ndcg"' in measured:
        ranking = Ranking.model_validate_json(measured)
        return EvaluationResult(samples=ranking.samples, ranking=ranking)
    text = TextScore.model_validate_json(measured)
    return EvaluationResult(samples=text.samples, text=text)
