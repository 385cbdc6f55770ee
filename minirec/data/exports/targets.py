"""All export targets, by the name that requests give them.

A new target is a file like `trl.py`, its name in `minirec.api_schemas.exports.ExportFormat`, and its line here.
"""

from __future__ import annotations

from collections.abc import Mapping

from minirec.api_schemas.exports import ExportFormat
from minirec.data.exports import llama_factory, ms_swift, nemo_rl, openrlhf, plain, slime, trl, verifiers, verl
from minirec.data.exports.target import Target

TARGETS: Mapping[ExportFormat, Target] = {
    target.format: target
    for target in (
        trl.TARGET,
        verl.TARGET,
        openrlhf.TARGET,
        slime.TARGET,
        verifiers.TARGET,
        nemo_rl.TARGET,
        ms_swift.TARGET,
        llama_factory.TARGET,
        plain.JSONL,
        plain.PARQUET,
        plain.CSV,
        plain.IDS,
    )
}
