"""Units of work as values: what each handler reads, how its results are named, and where they are kept."""

from minirec.specs.base import DeviceType, DType, JobSpec, PinnedModel, SpecRefused, UnitSpec
from minirec.specs.evaluation import FinishEvaluation, PrepareEvaluation
from minirec.specs.ingest import IngestSpec, UploadedFile
from minirec.specs.naming import fingerprint, identity, rows_fingerprint
from minirec.specs.selection import (
    CatalogueSpec,
    CheckSpec,
    PlanSelection,
    PrepareSelection,
    ProxySpec,
    ScoreSpec,
    SelectSpec,
)
from minirec.specs.training import EvaluateSpec, FinishTraining, PrepareTraining, TrainSpec

__all__ = [
    "CatalogueSpec",
    "CheckSpec",
    "DType",
    "DeviceType",
    "EvaluateSpec",
    "FinishEvaluation",
    "FinishTraining",
    "IngestSpec",
    "JobSpec",
    "PinnedModel",
    "PlanSelection",
    "PrepareEvaluation",
    "PrepareSelection",
    "PrepareTraining",
    "ProxySpec",
    "ScoreSpec",
    "SelectSpec",
    "SpecRefused",
    "TrainSpec",
    "UnitSpec",
    "UploadedFile",
    "fingerprint",
    "identity",
    "rows_fingerprint",
]
