"""The kinds of jobs that the service offers. The application's routes, and all that lists kinds, follow from it."""

from __future__ import annotations

from typing import Any

from service.evaluations import EVALUATIONS
from service.selections import SELECTIONS
from service.served_kind import ServedKind
from service.training_jobs import TRAINING_JOBS

KINDS: tuple[ServedKind[Any, Any], ...] = (SELECTIONS, TRAINING_JOBS, EVALUATIONS)
