"""Worlds on the Hugging Face Hub: `hf://user/name@revision`, fetched, checked and published.

A world's card holds the hashes of its other files, so what arrives is whole or refused, whoever
serves it. `$HF_ENDPOINT` names another server with the same routes; no account is needed to fetch.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from dfgym.checks import shorten
from dfgym.errors import MissingPackageError, WorldError
from dfgym.files import draft_path
from dfgym.world import bundle
from dfgym.world.card import CARD_FILE, MAX_CARD_BYTES

SCHEME = "hf://"
FORM = "hf://user/name, or hf://user/name@revision"
# The card first: it says what the others must be.
FILES = {
    CARD_FILE: MAX_CARD_BYTES,
    bundle.WEIGHTS_FILE: bundle.MAX_WEIGHTS_BYTES,
    bundle.STARTS_FILE: bundle.MAX_STARTS_BYTES,
}
_WORD = r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?![.]))*"
_ADDRESS = re.compile(rf"(?:hf://)?({_WORD}/{_WORD})(?:@({_WORD}(?:/{_WORD})*))?", re.ASCII)
_README = """---
library_name: dfgym
tags: [reinforcement-learning, gymnasium, world-model]
---

# {name}

A learned game for [dfgym](https://pypi.org/project/dfgym), as a Gymnasium environment:

```python
import gymnasium as gym

env = gym.make("dfgym:DFWorld-v0", world="hf://{repo}")
```

It was learned from {source}.

sha256 of `world.toml`, which holds those of the other files: `{hash}`.
"""


class Address(NamedTuple):
    """A world on the Hub: `user/name`, and a branch, a tag or a commit; None: the newest."""

    repo: str
    revision: str | None

    def __str__(self) -> str:
        return SCHEME + self.repo + (f"@{self.revision}" if self.revision else "")


def parse(text: str) -> Address:
    """Read `hf://user/name@revision`, whose scheme and revision may be left out.

    Raises:
        WorldError: it is malformed.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or len(text) > 200:
        raise WorldError(f"{shorten(text)} is no world's address on the Hub; expected {FORM}")
    return Address(match[1], match[2])


def fetch(text: str) -> Path:
    """Bring a world into the Hub's local cache, unless it lies there; returns its folder.

    Who loads the folder checks it, as any world's.

    Raises:
        WorldError: the address is malformed, or there is no such world for you, or it is too large.
        MissingPackageError: huggingface_hub is missing.
    """
    address, hub = parse(text), _import()
    place = {"endpoint": os.environ.get("HF_ENDPOINT"), "cache_dir": os.environ.get("HF_HUB_CACHE")}
    revision, folder = address.revision, Path()
    with _naming(address, hub):
        for name, cap in FILES.items():
            file = {"repo_id": address.repo, "filename": name, "revision": revision, **place}
            facts = hub.hf_hub_download(**file, dry_run=True)
            if (size := facts.file_size or 0) > cap:
                raise WorldError(f"{address}: {name} has {size} bytes; allowed are {cap}")
            revision = facts.commit_hash  # all files of one commit
            folder = Path(hub.hf_hub_download(**{**file, "revision": revision})).parent
    return folder


def pull(text: str, out: Path) -> Path:
    """Copy a world from the Hub to `out/NAME`, checked; returns that folder.

    Raises:
        WorldError: as `fetch`; or the world is damaged, or `out/NAME` holds another world.
        MissingPackageError: huggingface_hub is missing.
    """
    world = bundle.load(fetch(text))
    path = out / world.card.name
    if path.exists():
        if bundle.load(path).hash != world.hash:
            raise WorldError(f"{path} is another world than {text}; move it, or pull elsewhere")
        return path
    out.mkdir(parents=True, exist_ok=True)
    draft = draft_path(path)
    try:
        draft.mkdir()
        for name in FILES:
            shutil.copyfile(world.path / name, draft / name)
        draft.rename(path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return path


def push(folder: Path, text: str, private: bool = False) -> str:
    """Publish a world's folder; returns its address with the commit, which never changes.

    Args:
        folder: the world's, which is checked first.
        text: where to, `user/name`; the repository is made if it is missing.
        private: make a new repository private; an old one must be.

    Raises:
        WorldError: the world is damaged, the address malformed, another world of the same name
            is there, the repository is public against `private`, or the Hub refuses.
        MissingPackageError: huggingface_hub is missing.
    """
    address, hub, world = parse(text), _import(), bundle.load(folder)
    if address.revision is not None:
        raise WorldError(f"{text} has a revision, which the Hub gives; publish to {address.repo}")
    api = hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    with _naming(address, hub):
        api.create_repo(address.repo, private=private or None, exist_ok=True)
        if private and not api.repo_info(address.repo).private:
            raise WorldError(
                f"{address.repo} exists and all can see it; make it private on the Hub, or publish "
                "to another name"
            )
        _check_version(address, world, api.file_exists(address.repo, CARD_FILE))
        readme = _README.format(
            name=world.card.name, repo=address.repo, source=world.card.source.env, hash=world.hash
        )
        contents = {name: (world.path / name).read_bytes() for name in FILES}
        contents["README.md"] = readme.encode()
        commit = api.create_commit(
            address.repo,
            [hub.CommitOperationAdd(name, data) for name, data in contents.items()],
            commit_message=f"Publish {world.card.name}",
        )
    return str(address._replace(revision=commit.oid))


def _check_version(address: Address, world: bundle.World, published: bool) -> None:
    """Refuse to put another world in the place of one of the same name."""
    if not published:
        return
    other = bundle.load(fetch(str(address)))
    if other.card.name == world.card.name and other.hash != world.hash:
        raise WorldError(
            f"{address} has another {other.card.name}: worlds never change, so give yours a new "
            "version (-vN), or push it elsewhere"
        )


@contextmanager
def _naming(address: Address, hub: ModuleType) -> Iterator[None]:
    """Say in one line what the Hub has against an address."""
    errors = hub.errors
    try:
        yield
    except errors.GatedRepoError as reason:
        fix = "ask for access on its page, and log in with `hf auth login`"
        raise WorldError(f"{address} is open to some alone: {fix}") from reason
    except errors.RepositoryNotFoundError as reason:
        fix = "look at the name or, for a private one, log in with `hf auth login` or set HF_TOKEN"
        raise WorldError(f"{address} is not there, or is private: {fix}") from reason
    except errors.RevisionNotFoundError as reason:
        raise WorldError(f"{address}: there is no such branch, tag or commit") from reason
    except errors.RemoteEntryNotFoundError as reason:
        raise WorldError(f"{address} is no world: it lacks one of {', '.join(FILES)}") from reason
    except errors.LocalEntryNotFoundError as reason:
        text = "the Hub cannot be reached, and the world is not in the local cache"
        raise WorldError(f"{address}: {text}; try again with a network") from reason
    except (errors.HFValidationError, *errors.HfHubHTTPError.__bases__) as reason:
        # These are the HTTP library's own error, and OSError.
        text = shorten(str(reason).partition("\n")[0])
        status = getattr(getattr(reason, "response", None), "status_code", None)
        if status in (401, 403):
            text = "the Hub lets you not do this: log in with `hf auth login`, as one who may"
        raise WorldError(f"{address}: {text}") from reason


def _import() -> ModuleType:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as reason:
        raise MissingPackageError(
            f'worlds on the Hub need one more package ({reason}): pip install "dfgym[hub]"'
        ) from reason
    return huggingface_hub
