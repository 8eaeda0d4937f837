"""The command `dfgym evaluate`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import tyro
from msgspec import Meta

from dfgym import checks
from dfgym.data.cluster import Cluster
from dfgym.env.real import trust_source
from dfgym.errors import ConfigError
from dfgym.evaluation.few_steps import few_steps
from dfgym.evaluation.run import compare_worlds, evaluate, evaluate_peer
from dfgym.world import shelf
from dfgym.world.settings import Settings

USED = {
    "compare": ("out",),
    "peer": ("world", "out", "trust"),
    "denoising_steps_sweep": ("world", "out", "quick", "trust", "settings"),
}
"""The fields that are of use beside each one that stands instead of the questions."""


@dataclass(frozen=True)
class Config:
    """Measure a world against its real game: JSON and one HTML page with pictures."""

    world: Annotated[str, tyro.conf.Positional] = shelf.DEFAULT
    """Name on the shelf, or a folder's path."""
    out: Path = Path("evaluation")
    """Folder to write to."""
    quick: bool = False
    """A twentieth of the frames: a look, not a measurement."""
    seed: Annotated[int, Meta(ge=0, le=9999)] = 0
    """Of all that is played: games, players, dreams and choices. Recordings draw other games."""
    rungs: tuple[str, ...] | None = None
    """The questions to ask, such as `counterfactual chance`; all if left out."""
    compare: tuple[Path, Path] | None = None
    """Instead of all else, put two folders that this command wrote side by side."""
    peer: Path | None = None
    """Instead of the world, judge rollouts of another system by its real game: a folder of .npz
    files, each with frames, actions, rewards and ends."""
    denoising_steps_sweep: tuple[int, ...] | None = None
    """Instead of all else, judge and time the dream at these numbers of denoising steps."""
    trust: bool = False
    """Import the modules that the world's card names to open its real game, which runs them."""
    ray: str = ""
    """Ask the questions on a Ray cluster, by its address: `auto`, `host:6379`, `ray://host:10001`;
    or `local`, this machine alone. All its machines must see the world and the folder."""
    processes: Annotated[int, Meta(ge=1)] = 2
    """How many questions are asked at a time where the cluster is `local`."""
    settings: Annotated[Settings, tyro.conf.arg(name="")] = Settings()

    def __post_init__(self) -> None:
        checks.check(self, ConfigError)
        if self.trust and self.ray:
            raise ConfigError(
                f"trust is True and ray is {self.ray!r}, whose processes trust no module; leave "
                "one out"
            )
        for name in ("rungs", "denoising_steps_sweep"):
            if getattr(self, name) == ():
                raise ConfigError(f"{name} has nothing after it; name one or more, or leave it out")


def check_mode(config: Config) -> None:
    """Refuse what would be ignored.

    Raises:
        ConfigError: a flag is of no use beside another one.
    """
    names = [f.name for f in fields(config) if getattr(config, f.name) != f.default]
    for mode in (name for name in USED if name in names):
        for name in names:
            if name not in (mode, *USED[mode]):
                raise ConfigError(
                    f"`{name}` is {_word(getattr(config, name))}, and `{mode}` does not use it; "
                    "leave one out"
                )


def _word(value: object) -> str:
    return repr(str(value) if isinstance(value, Path) else value)


def run(config: Config) -> None:
    """Do what the flags say.

    Raises:
        ConfigError: two flags exclude each other, or see `evaluate`.
    """
    check_mode(config)
    if config.trust:
        trust_source(config.world)
    if config.denoising_steps_sweep:
        if config.settings.denoising_steps is not None:
            raise ConfigError(
                f"denoising_steps is {config.settings.denoising_steps}; leave it out, since "
                "denoising_steps_sweep gives several"
            )
        steps = config.denoising_steps_sweep
        few_steps(config.world, config.out, steps, config.quick, config.settings)
    elif config.compare:
        print(f"wrote {compare_worlds(config.compare, config.out)}")
    elif config.peer:
        evaluate_peer(config.world, config.peer, config.out)
    else:
        evaluate(
            config.world,
            config.out,
            quick=config.quick,
            settings=config.settings,
            rungs=config.rungs or (),
            seed=config.seed,
            cluster=Cluster(config.ray, config.processes) if config.ray else None,
        )
