"""What the demo chooses by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from minirec.cli.demo import quick_dtype


@pytest.mark.parametrize(
    ("flags", "dtype"),
    [
        ("flags : fpu avx2 avx512f amx_bf16 amx_tile", "bfloat16"),
        ("flags : fpu avx512_bf16", "bfloat16"),
        ("Features : fp asimd bf16", "bfloat16"),
        ("flags : fpu avx avx2 avx512f", "float32"),
    ],
)
def test_a_processor_that_would_emulate_bfloat16_computes_in_float32(tmp_path: Path, flags: str, dtype: str) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor : 0\n{flags}\n")
    assert quick_dtype(tmp_path / "cpuinfo") == dtype


def test_where_nothing_is_known_it_is_float32(tmp_path: Path) -> None:
    assert quick_dtype(tmp_path / "absent") == "float32"
