"""Files that are not what they should be: one message for the whole file, which names what it is and what to do."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from minirec.data.layouts import missing_fields

BOM = b"\xef\xbb\xbf"
_MAGIC = {
    b"PK\x03\x04": "a zip archive",
    b"\x28\xb5\x2f\xfd": "zstd-compressed",
    b"BZh": "bzip2-compressed",
    b"\xfd7zXZ\x00": "xz-compressed",
    b"ARROW1": "an Arrow (Feather) file",
    b"\xff\xff\xff\xff": "an Arrow stream, as datasets.save_to_disk writes them",
    b"SQLite format 3": "an SQLite database",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"version https://git-lfs": "a Git LFS pointer and not the file itself (`git lfs pull` fetches that)",
}
HEAD_BYTES = 512
"""How much of a file `foreign_kind` needs to see."""
_TAR = slice(257, 262)


def foreign_kind(head: bytes) -> str | None:
    """Return what a file is by its first bytes if that is nothing we read, else None."""
    if head[_TAR] == b"ustar":
        return "a tar archive"
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)


def not_json_lines(first: bytes, second: bytes) -> str | None:
    """Return why a file is no JSONL, given its first line, which is no JSON, and the one after it; or None.

    Both lines are without white space around them.
    """
    if first.startswith(b"{"):
        if second and not second.startswith(b"{") and not first.endswith(b"}"):
            return "one JSON object over several lines; write one object per line (`jq -c .` does)"
        return None
    if first.startswith(b"<"):
        return "HTML or XML, and no JSON; was an error page saved instead of the data?"
    shown = first[:80].decode(errors="replace")
    if b"\t" in first:
        typed = any(kind in first for kind in (b":token", b":float"))
        name = "a RecBole atomic file" if typed else "tab-separated (TSV)"
        return f"{name}, and no JSON: its first line is {shown!r}; {_CONVERT}"
    if b"," in first or b";" in first:
        return f"comma-separated (CSV), and no JSON: its first line is {shown!r}; {_CONVERT}"
    return None


_CONVERT = (
    "`minirec import FILE -o FOLDER` makes a dataset of it, or convert it to one JSON object per line (pandas: "
    "`to_json(path, orient='records', lines=True)`) or to Parquet"
)


def wrapped_rows(row: dict[str, Any], model: type[BaseModel]) -> str | None:
    """Return what to say if a row is one object that holds all rows in one of its fields, else None."""
    if len(missing_fields(row, model)) < sum(field.is_required() for field in model.model_fields.values()):
        return None
    for name, value in row.items():
        if isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value[:10]):
            return f"one JSON object with all rows in its field {name!r}; write one per line (`jq -c .{name}[]` does)"
    return None
