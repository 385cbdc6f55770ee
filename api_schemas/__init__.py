"""The contract: pydantic models of every request, response, event and error. Imports nothing but pydantic."""

from api_schemas.common import FieldError, Metadata, Page, Problem, Request, Response, RowError
from api_schemas.datasets import Dataset, DatasetDeleted, Signals
from api_schemas.events import Event, EventType
from api_schemas.health import Health, Version
from api_schemas.models import AdapterReference, ModelReference
from api_schemas.rows import ItemRow, RewardRow, SampleRow
from api_schemas.selections import (
    TERMINAL,
    Arm,
    ArmIds,
    Baseline,
    Counts,
    CurriculumSettings,
    GateSettings,
    JobError,
    PoolSettings,
    RolloutSettings,
    SampleScore,
    Selection,
    SelectionCreate,
    SelectionResult,
    Status,
    SubsetIds,
    SubsetRow,
    WeightSettings,
)
from api_schemas.training import GrpoSettings, ProxySettings

__all__ = [
    "TERMINAL",
    "AdapterReference",
    "Arm",
    "ArmIds",
    "Baseline",
    "Counts",
    "CurriculumSettings",
    "Dataset",
    "DatasetDeleted",
    "Event",
    "EventType",
    "FieldError",
    "GateSettings",
    "GrpoSettings",
    "Health",
    "ItemRow",
    "JobError",
    "Metadata",
    "ModelReference",
    "Page",
    "PoolSettings",
    "Problem",
    "ProxySettings",
    "Request",
    "Response",
    "RewardRow",
    "RolloutSettings",
    "RowError",
    "SampleRow",
    "SampleScore",
    "Selection",
    "SelectionCreate",
    "SelectionResult",
    "Signals",
    "Status",
    "SubsetIds",
    "SubsetRow",
    "Version",
    "WeightSettings",
]
