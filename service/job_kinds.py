"""The kinds of jobs that the service offers. The application's routes, and all that lists kinds, follow from it."""

from __future__ import annotations

from typing import Any

from minirec.service.evaluations import EVALUATIONS
from minirec.service.selections import SELECTIONS
from minirec.service.served_kind import ServedKind
from minirec.service.training_jobs import TRAINING_JOBS

KINDS: tuple[ServedKind[Any, Any], ...] = (SELECTIONS, TRAINING_JOBS, EVALUATIONS)
