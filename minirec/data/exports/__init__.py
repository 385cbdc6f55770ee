"""A selection as a folder that a trainer reads: TRL, verl, others, or plain files, always in training order."""

from minirec.data.exports.folder import write_export
from minirec.data.exports.rows import Pick, Row, Scores, build_rows
from minirec.data.exports.target import AnswerMissingError, SourceMissingError, Target
from minirec.data.exports.targets import TARGETS

__all__ = [
    "TARGETS",
    "AnswerMissingError",
    "Pick",
    "Row",
    "Scores",
    "SourceMissingError",
    "Target",
    "build_rows",
    "write_export",
]
