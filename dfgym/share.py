"""Commands that bring recordings and worlds to where others find them, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from dfgym.data.minari import to_minari
from dfgym.errors import ConfigError
from dfgym.world import hub, shelf


def export_data(data: Annotated[Path, Positional], target: Annotated[str, Positional]) -> None:
    """Copy a recording, without loss, to where other libraries read it.

    Args:
        data: the data set's folder.
        target: `minari:` and the new Minari data set's id, such as minari:dfgym/breakout-v0.
    """
    kind, _, name = target.partition(":")
    if kind != "minari":
        raise ConfigError(f"target is {target!r}; expected minari:ID, as minari:dfgym/game-v0")
    dataset = to_minari(data, name)
    print(f"{target}: {dataset.total_steps:,} steps in {dataset.total_episodes:,} episodes")


def push(
    world: Annotated[str, Positional], target: Annotated[str, Positional], private: bool = False
) -> None:
    """Publish a world on the Hugging Face Hub, for which you must be logged in there.

    Args:
        world: name on the shelf, or a folder's path.
        target: `user/name`; made if it is missing.
        private: let a new one be seen by you alone.
    """
    print(f"published {hub.push(shelf.find(world), target, private)}")


def pull(
    source: Annotated[str, Positional], out: Annotated[Path, Positional] = Path("worlds")
) -> None:
    """Copy a world from the Hugging Face Hub, checked; no account is needed.

    Args:
        source: `user/name` or `user/name@revision`, with or without `hf://`.
        out: where its folder goes; name this in $DFGYM_WORLDS to have it on the shelf.
    """
    print(f"wrote {hub.pull(source, out)}")
