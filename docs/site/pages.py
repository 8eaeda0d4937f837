"""An MkDocs hook: the pages that are made from data join those that are written."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))

import cards

RUNTIME = cards.ROOT / "node_modules" / "onnxruntime-web"
"""Where `npm install onnxruntime-web` puts what a world's page needs; without it there is none."""
PLACE = re.compile("<!-- in the built site .*?<!-- up to here -->", re.S)
FRAME = """<iframe src="dream/index.html" title="Breakout, dreamed in this tab: press Play"
style="width: 100%; height: 560px; border: 0"></iframe>

*A network dreams this Breakout in your browser, a frame for each step; no game runs behind it.
Play with ← and →, or by touch. <a href="dream/index.html">On its own page</a> it can be rewound,
seeded, and begun from other moments.*"""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List a page for each world."""
    for section in config.nav or ():
        if "Worlds" in section:
            section["Worlds"] += [f"worlds/{name}.md" for name in cards.read_cards()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Make the worlds' pages."""
    pages = {
        f"worlds/{name}.md": cards.world_page(card) for name, card in cards.read_cards().items()
    }
    for path, content in {"worlds/index.md": cards.worlds_index(), **pages}.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Show the scripts on the page of the tutorials, and a dream on the first page."""
    if page.file.src_uri == "index.md" and RUNTIME.is_dir():
        return PLACE.sub(FRAME, markdown)
    if page.file.src_uri != "tutorials/index.md":
        return markdown
    folder = cards.ROOT / "docs" / "tutorials"
    scripts = re.findall(r"\]\((\w+\.py)\)", markdown)
    blocks = (f"## {name}\n\n```python\n{(folder / name).read_text()}```" for name in scripts)
    return "\n\n".join((markdown, *blocks))


def on_post_build(config: MkDocsConfig) -> None:
    """Make the page that the first page shows."""
    if RUNTIME.is_dir():
        from dfgym.export.command import Export, export
        from dfgym.world.shelf import DEFAULT

        export(Export(DEFAULT, Path(config.site_dir) / "dream", page=True, onnxruntime_web=RUNTIME))
