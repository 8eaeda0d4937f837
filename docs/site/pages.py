"""An MkDocs hook: the pages that are made from data join those that are written."""

from __future__ import annotations

import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))

import cards  # noqa: E402


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List a page for each world."""
    for section in config.nav or ():
        if "Worlds" in section:
            section["Worlds"] += [f"worlds/{name}.md" for name in cards.read_cards()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Make the worlds' pages."""
    pages = {f"worlds/{name}.md": cards.world_page(card) for name, card in cards.read_cards().items()}
    for path, content in {"worlds/index.md": cards.worlds_index(), **pages}.items():
        files.append(File.generated(config, path, content=content))
    return files
