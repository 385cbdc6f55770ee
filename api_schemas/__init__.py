"""The contract: pydantic models of every request, response, event and error. Imports nothing but pydantic."""

from minirec.api_schemas.baselines import Baseline
from minirec.api_schemas.common import FieldError, Metadata, Page, Problem, Request, Response, RowError
from minirec.api_schemas.datasets import Dataset, DatasetDeleted, DatasetRows, Signals
from minirec.api_schemas.evaluations import Evaluation, EvaluationCreate, EvaluationResult, Ranking, TextScore
from minirec.api_schemas.events import Event, EventPage, EventType, TypedEvent
from minirec.api_schemas.explanations import NearestPick, Rollout, SampleExplanation, TitledItem
from minirec.api_schemas.health import Health, Version
from minirec.api_schemas.job_kinds import EVALUATION, JOB_KINDS, SELECTION, TRAINING_JOB, JobKind, kind_of
from minirec.api_schemas.jobs import TERMINAL, Job, JobError, Status
from minirec.api_schemas.kept_texts import KeptTexts
from minirec.api_schemas.keys import DEFAULT_TENANT, ApiKey, ApiKeyCreate, CreatedApiKey
from minirec.api_schemas.models import AdapterReference, ModelReference, UsedModel
from minirec.api_schemas.plots import SelectionPlots
from minirec.api_schemas.rewards import Reward, TextReward
from minirec.api_schemas.rows import ItemRow, Message, PromptRow, RewardRow, SampleRow, TimestampUnit
from minirec.api_schemas.selections import (
    Arm,
    ArmIds,
    Counts,
    CurriculumSettings,
    EngineServer,
    GateSettings,
    PoolSettings,
    RolloutSettings,
    SampleScore,
    Selection,
    SelectionCreate,
    SelectionResult,
    SubsetIds,
    SubsetRow,
    WeightSettings,
)
from minirec.api_schemas.training import GrpoSettings, ProxySettings
from minirec.api_schemas.training_jobs import (
    Artifact,
    EarlyStopping,
    EvaluationSettings,
    TrainingArgs,
    TrainingJob,
    TrainingJobCreate,
    TrainingResult,
)
from minirec.api_schemas.webhooks import CreatedWebhook, JobEnded, Webhook, WebhookCreate
from minirec.api_schemas.workers import Worker

__all__ = [
    "AdapterReference",
    "ApiKey",
    "ApiKeyCreate",
    "Arm",
    "ArmIds",
    "Artifact",
    "Baseline",
    "Counts",
    "CreatedApiKey",
    "CreatedWebhook",
    "CurriculumSettings",
    "DEFAULT_TENANT",
    "Dataset",
    "DatasetDeleted",
    "DatasetRows",
    "EVALUATION",
    "EarlyStopping",
    "EngineServer",
    "Evaluation",
    "EvaluationCreate",
    "EvaluationResult",
    "EvaluationSettings",
    "Event",
    "EventPage",
    "EventType",
    "FieldError",
    "GateSettings",
    "GrpoSettings",
    "Health",
    "ItemRow",
    "JOB_KINDS",
    "Job",
    "JobEnded",
    "JobError",
    "JobKind",
    "KeptTexts",
    "Message",
    "Metadata",
    "ModelReference",
    "NearestPick",
    "Page",
    "PoolSettings",
    "Problem",
    "PromptRow",
    "ProxySettings",
    "Ranking",
    "Request",
    "Response",
    "Reward",
    "RewardRow",
    "Rollout",
    "RolloutSettings",
    "RowError",
    "SELECTION",
    "SampleExplanation",
    "SampleRow",
    "SampleScore",
    "Selection",
    "SelectionCreate",
    "SelectionPlots",
    "SelectionResult",
    "Signals",
    "Status",
    "SubsetIds",
    "SubsetRow",
    "TERMINAL",
    "TRAINING_JOB",
    "TextReward",
    "TextScore",
    "TimestampUnit",
    "TitledItem",
    "TrainingArgs",
    "TrainingJob",
    "TrainingJobCreate",
    "TrainingResult",
    "TypedEvent",
    "UsedModel",
    "Version",
    "Webhook",
    "WebhookCreate",
    "WeightSettings",
    "Worker",
    "kind_of",
]
