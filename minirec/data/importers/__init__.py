"""Importers: what people have, turned into the files that an upload takes."""

from minirec.data.importers.base import Options
from minirec.data.importers.convert import Imported, convert
from minirec.data.importers.errors import SourceError
from minirec.data.importers.registry import IMPORTERS

__all__ = ["IMPORTERS", "Imported", "Options", "SourceError", "convert"]
