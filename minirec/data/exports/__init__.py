"""A selection as a folder that a trainer reads: TRL, verl, OpenRLHF, or plain files, always in training order."""

from minirec.data.exports.folder import SourceMissingError, write_export
from minirec.data.exports.rows import Pick, Row, Scores, build_rows
from minirec.data.exports.writers import FORMATS, Format

__all__ = ["FORMATS", "Format", "Pick", "Row", "Scores", "SourceMissingError", "build_rows", "write_export"]
