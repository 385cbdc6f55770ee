"""What `minirec.selection` offers, and what it costs to import."""

import subprocess
import sys

import minirec.selection


def test_the_public_names_are_these() -> None:
    assert minirec.selection.__all__ == [
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


def test_every_public_name_is_there() -> None:
    for name in minirec.selection.__all__:
        assert getattr(minirec.selection, name) is not None


def test_importing_it_does_not_import_torch() -> None:
    code = "import sys, minirec.selection; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
