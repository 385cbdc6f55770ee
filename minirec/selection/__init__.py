"""The method on arrays: which samples teach, which of them differ, and in which order to train on them."""

from minirec.selection.advantage import SIGNAL_POLICY, SIGNAL_TEACHER, advantages
from minirec.selection.baselines import BaselineError, baseline
from minirec.selection.checks import RowError
from minirec.selection.compose import Choice, EmptySelectionError, Selection, Vector, default_choice, select
from minirec.selection.curriculum import curriculum
from minirec.selection.diversity import DiverseChoice, select_diverse
from minirec.selection.gate import NO_SPREAD, OPEN, TOO_EASY, TOO_HARD, gate
from minirec.selection.learnability import learnability
from minirec.selection.matching import Gradients, MatchingChoice, select_matching
from minirec.selection.representativeness import representativeness
from minirec.selection.ties import tie_order

__all__ = [
    "NO_SPREAD",
    "OPEN",
    "SIGNAL_POLICY",
    "SIGNAL_TEACHER",
    "TOO_EASY",
    "TOO_HARD",
    "BaselineError",
    "Choice",
    "DiverseChoice",
    "EmptySelectionError",
    "Gradients",
    "MatchingChoice",
    "RowError",
    "Selection",
    "Vector",
    "advantages",
    "baseline",
    "curriculum",
    "default_choice",
    "gate",
    "learnability",
    "representativeness",
    "select",
    "select_diverse",
    "select_matching",
    "tie_order",
]
