"""The real sets that lie beside the repository during development are clean uploads with the published counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from minirec.data.ingest import ingest

FOLDER = Path(__file__).parents[4] / "shared" / "data"
COUNTS = {
    "amazon18_cds": (22_804, 5_561, 2_991, {"train": 10_614, "valid": 6_122, "test": 6_068}),
    "amazon18_cds_demo": (5_298, 1_452, 1_200, {"train": 2_744, "valid": 1_309, "test": 1_245}),
    "movielens_small": (47_971, 6_298, 608, {"train": 38_376, "valid": 4_797, "test": 4_798}),
}


@pytest.mark.skipif(not FOLDER.is_dir(), reason="the development data sets (../shared/data) are not here")
@pytest.mark.parametrize("name", COUNTS)
def test_a_real_set_is_ingested_whole(name: str, tmp_path: Path) -> None:
    found = ingest(FOLDER / f"{name}.samples.jsonl.gz", FOLDER / f"{name}.items.jsonl.gz", tmp_path)
    assert (found.n_samples, found.n_items, found.n_users, found.splits) == COUNTS[name]
