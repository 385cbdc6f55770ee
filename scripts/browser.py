"""Install the browser that drives the page in tests: Chromium from the npm package @sparticuz/chromium.

Playwright's own downloads are not on a package registry. Without npm, or elsewhere than on Linux on x86-64, nothing
is installed, and the tests of the page look for a browser on the PATH, or skip and say so.
"""

from __future__ import annotations

import base64
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "@sparticuz/chromium@147.0.0"
SHA512 = "4ZKeAQQa8up2mt675qSitztLdbQrlf8BKdC5naeap+5Mv1OV1OlJdPoU+EJC/p5sQUJUQmN4r+q5+EhaaOUHpQ=="
TARGET = Path(sys.prefix) / "browser"


def main() -> None:
    """Fetch the package, check it, and unpack the browser into the virtual environment."""
    if (TARGET / "chromium").exists():
        return
    npm, node = shutil.which("npm"), shutil.which("node")
    if sys.platform != "linux" or platform.machine() != "x86_64" or npm is None or node is None:
        print("No browser for the tests of the page: that needs npm, on Linux on x86-64. They will look on the PATH.")
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            packed = fetch(npm, Path(folder), PACKAGE, SHA512)
        except (OSError, subprocess.SubprocessError) as error:
            print(f"No browser for the tests of the page: {PACKAGE} could not be fetched ({error}).")
            return
        unpack(node, packed, Path(folder))


def fetch(npm: str, folder: Path, package: str, sha512: str) -> Path:
    """Return a package as the registry has it. Raises OSError, SubprocessError or SystemExit."""
    command = [npm, "pack", "--silent", "--pack-destination", str(folder), package]
    subprocess.run(command, check=True, capture_output=True, cwd=folder, timeout=600)
    packed = next(folder.glob("*.tgz"))
    found = base64.b64encode(hashlib.sha512(packed.read_bytes()).digest()).decode()
    if found != sha512:
        sys.exit(f"{package} is not what was tested: its SHA-512 is {found}")
    return packed


def unpack(node: str, packed: Path, folder: Path) -> None:
    """Unpack the browser's parts, which are compressed with brotli: node can."""
    with tarfile.open(packed) as archive:
        archive.extractall(folder, filter="data")
    parts = folder / "package" / "bin"
    script = "process.stdin.pipe(require('zlib').createBrotliDecompress()).pipe(process.stdout)"
    TARGET.mkdir(parents=True, exist_ok=True)
    for name in ("swiftshader.tar", "chromium"):
        with (parts / f"{name}.br").open("rb") as source, (folder / name).open("wb") as sink:
            subprocess.run([node, "-e", script], check=True, stdin=source, stdout=sink)
    with tarfile.open(folder / "swiftshader.tar") as archive:
        archive.extractall(TARGET, filter="data")
    browser = folder / "chromium"
    browser.chmod(0o755)
    shutil.copy2(browser, TARGET / "chromium.partial")
    os.replace(TARGET / "chromium.partial", TARGET / "chromium")


if __name__ == "__main__":
    main()
