"""Where results are kept: blob names, and names of columns, by the name of the spec that made them."""

from __future__ import annotations

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
METRICS, EVALUATION, SUMMARY = "metrics.jsonl", "evaluation.json", "summary.json"


def columns_output(name: str) -> str:
    """Return columns as an entry of `Stage.outputs`."""
    return f"columns:{name}"


def check_folder(name: str) -> str:
    """Return the folder of the reports on what of a pool does not fit a model."""
    return f"checks/{name}/"


def proxy_folder(proxy: str) -> str:
    """Return the folder of a proxy: adapter and checkpoints."""
    return f"proxies/{proxy}/"


def proxy_checkpoints(proxy: str) -> str:
    """Return the folder of a proxy's checkpoints while it trains."""
    return f"{proxy_folder(proxy)}checkpoints"


def proxy_file(proxy: str, file: str) -> str:
    """Return the blob with a file of a trained proxy's adapter."""
    return f"{proxy_folder(proxy)}adapter/{file}"


def training_folder(training: str) -> str:
    """Return the folder of a training run: adapter, metrics, summary and checkpoints."""
    return f"trainings/{training}/"


def training_checkpoints(training: str) -> str:
    """Return the folder of a training run's checkpoints while it trains."""
    return f"{training_folder(training)}checkpoints"


def training_file(training: str, file: str) -> str:
    """Return the blob with a file that a training run left: its adapter, its metrics, its summary."""
    return f"{training_folder(training)}{file}"


def evaluation_blob(name: str) -> str:
    """Return the blob with an evaluation on held-out samples, as JSON."""
    return f"evaluations/{name}.json"


def job_folder(job_id: str) -> str:
    """Return the folder of what belongs to one training job alone."""
    return f"training_jobs/{job_id}/"


def job_file(job_id: str, file: str) -> str:
    """Return the blob with a file that belongs to one training job alone."""
    return f"{job_folder(job_id)}{file}"


def scores_columns(scoring: str) -> str:
    """Return the columns with a scored pool's rewards, and what else was measured per sample or rollout."""
    return f"scores:{scoring}"


def selection_folder(job_id: str) -> str:
    """Return the folder of what a finished selection keeps for people who look at it."""
    return f"selections/{job_id}/"


def selection_view(job_id: str) -> str:
    """Return the blob with the map of a selection's pool, and the embeddings of what it picked."""
    return f"{selection_folder(job_id)}view.safetensors"


def rows_columns(name: str, use: str) -> str:
    """Return the columns with rows that a spec names by their fingerprint, for `use`: train, valid or test."""
    return f"rows:{name}:{use}"
