"""A new data set from other data: whole, or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dfgym.data.store import EpisodeStore
from dfgym.errors import DataError
from dfgym.files import DRAFT_AGE, draft_path, remove_drafts


@contextmanager
def drafting(out: str | os.PathLike[str], meta: Mapping[str, Any]) -> Iterator[EpisodeStore]:
    """Open a data set to write beside its place, and move it there when all went well.

    Raises:
        DataError: `out` exists, or the meta data are not of the format.
    """
    path = Path(out)
    if path.exists():
        raise DataError(f"{path} exists; choose another folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_drafts(path.parent, path.name, age=DRAFT_AGE)
    draft = draft_path(path)
    try:
        with EpisodeStore.create(draft, meta) as store:
            yield store
        draft.rename(path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
