"""Hooks of the documentation's site (mkdocs.yml): links out of docs/, formulas without scripts, generated pages.

Pages stay readable where they lie. A line `<!-- generated: NAME -->` is replaced by what `scripts.docs_pages` makes of
the code. Links to other files of the repository lead to `MINIREC_DOCS_REPOSITORY` (e.g. `https://github.com/OWNER/NAME`),
or are the file's name where that is not set.
"""

from __future__ import annotations

import html
import posixpath
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from scripts import docs_pages

ROOT = Path(__file__).resolve().parents[1]
DIAGRAMS = Path(sys.prefix) / "diagrams" / "mermaid.min.js"
"""Where `scripts/diagrams.py` puts what draws the diagrams; without it their source is shown."""
BESIDE = {
    "README.md": "about/the-readme.md",
    "CONTRIBUTING.md": "about/contributing.md",
    "CHANGELOG.md": "about/changelog.md",
    "SECURITY.md": "about/security.md",
    "examples/README.md": "about/examples.md",
}
"""Files beside docs/ that are pages of the site, too."""
FENCED = re.compile(r"(^```.*?^```)", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]+)?\)")
GENERATED = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)
FORMULA = re.compile(r'<(span|div) class="arithmatex">(.*?)</\1>', re.DOTALL)


def anchor(title: str, separator: str) -> str:
    """Return a heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", separator)


def diagram(source: str, *_: Any, **__: Any) -> str:
    """Return a diagram's place on a page, or its source where nothing can draw it."""
    text = html.escape(source)
    return f'<pre class="mermaid">{text}</pre>' if DIAGRAMS.exists() else f"<pre><code>{text}</code></pre>"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Load the script that draws diagrams, from this site."""
    if DIAGRAMS.exists():
        config.extra_javascript += ["assets/mermaid.min.js", "assets/diagrams.js"]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie beside docs/."""
    for source, target in BESIDE.items():
        files.append(File.generated(config, target, content=(ROOT / source).read_text()))
    if DIAGRAMS.exists():
        files.append(File.generated(config, "assets/mermaid.min.js", content=DIAGRAMS.read_bytes()))
        start = 'mermaid.initialize({ startOnLoad: true, securityLevel: "strict" });\n'
        files.append(File.generated(config, "assets/diagrams.js", content=start))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in what is generated, and lead links to where their targets are on the site."""
    place = page.file.src_uri
    lies_at = {target: source for source, target in BESIDE.items()}.get(place, f"docs/{place}")
    markdown = outside_code(lambda text: LINK.sub(lambda link: moved(link, lies_at, place, config), text), markdown)
    return GENERATED.sub(lambda found: docs_pages.PAGES[found[1]](), markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Write formulas as MathML, which browsers draw by themselves."""
    return FORMULA.sub(lambda found: formula(found[2], display=found[1] == "div"), html)


def outside_code(change: Callable[[str], str], markdown: str) -> str:
    """Apply `change` to a page's text, and not to its code blocks."""
    return "".join(part if part.startswith("```") else change(part) for part in FENCED.split(markdown))


def moved(link: re.Match[str], lies_at: str, place: str, config: MkDocsConfig) -> str:
    """Return a link as it is on the site.

    Args:
        link: As `LINK` finds it.
        lies_at: The page's file in the repository.
        place: The page's file on the site.
        config: Of the site.
    """
    image, text, path, anchor = link[1], link[2], link[3], link[4] or ""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(lies_at), path))
    if target.startswith("docs/") or target in BESIDE:
        there = BESIDE.get(target) or target.removeprefix("docs/")
        return f"{image}[{text}]({posixpath.relpath(there, posixpath.dirname(place))}{anchor})"
    if not (ROOT / target).exists():
        return link[0]  # --strict says so
    if config.repo_url:
        kind = "tree" if (ROOT / target).is_dir() else "blob"
        return f"[{text}]({config.repo_url.rstrip('/')}/{kind}/main/{target}{anchor})"
    return f"{text} (`{target}`)" if target not in text else text


def formula(text: str, *, display: bool) -> str:
    r"""Return MathML of a formula that stands in `\(...\)` or `\[...\]`."""
    inner = html.unescape(text.strip())[2:-2]
    return convert(inner, display="block" if display else "inline")
