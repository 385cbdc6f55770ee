"""The method on arrays: which samples teach, which of them differ, and in which order to train on them."""

from minirec.selection.advantage import SIGNAL_POLICY, SIGNAL_TEACHER, advantages
from minirec.selection.baselines import baseline
from minirec.selection.compose import EmptySelectionError, Selection, select
from minirec.selection.curriculum import curriculum
from minirec.selection.diversity import DiverseChoice, select_diverse
from minirec.selection.gate import OPEN, TOO_EASY, TOO_HARD, gate
from minirec.selection.learnability import learnability
from minirec.selection.representativeness import representativeness

__all__ = [
    "OPEN",
    "SIGNAL_POLICY",
    "SIGNAL_TEACHER",
    "TOO_EASY",
    "TOO_HARD",
    "DiverseChoice",
    "EmptySelectionError",
    "Selection",
    "advantages",
    "baseline",
    "curriculum",
    "gate",
    "learnability",
    "representativeness",
    "select",
    "select_diverse",
]
