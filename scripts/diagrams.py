"""Fetch what draws the diagrams of the documentation's site: mermaid, from npm, into the virtual environment.

The site then loads it from itself. Without npm the site shows the diagrams' source.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from scripts.browser import fetch

PACKAGE = "mermaid@11.17.2"
SHA512 = "V6K3C8EBdEsPFZXSKMJe6ppQOENxuHARr9GvHX4hh47lAbhMRD9qf4oEK7LoaRQxULMa80/qt5gHO73aCleBBg=="
TARGET = Path(sys.prefix) / "diagrams" / "mermaid.min.js"


def main() -> None:
    """Fetch the package, check it, and keep its one file."""
    if TARGET.exists():
        return
    npm = shutil.which("npm")
    if npm is None:
        print("No npm: the site will show the diagrams' source.")
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            packed = fetch(npm, Path(folder), PACKAGE, SHA512)
        except (OSError, subprocess.SubprocessError) as error:
            print(f"{PACKAGE} could not be fetched ({error}): the site will show the diagrams' source.")
            return
        with tarfile.open(packed) as archive:
            script = archive.extractfile("package/dist/mermaid.min.js")
            assert script is not None
            TARGET.parent.mkdir(parents=True, exist_ok=True)
            TARGET.write_bytes(script.read())


if __name__ == "__main__":
    main()
