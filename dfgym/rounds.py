"""Record, learn, play, record again: what random players never reach, an agent of the dream shows.

After each round an agent learns in the dream so far. It plays the real game, which is recorded too,
and the next round goes on from the weights so far with all recordings.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
from pathlib import Path

from dfgym.data.store import EpisodeStore
from dfgym.errors import ConfigError
from dfgym.train.config import TrainConfig
from dfgym.train.finetune import survey_run
from dfgym.train.launch import launch, run_together
from dfgym.train.pack import Presentation, pack
from dfgym.world.shelf import VARIABLE

AGENT_SHARE = 0.2
"""The share of the training time that agents learn and play for."""
DATA_SHARE = 0.5
"""So many frames as the first recording has, times this, are recorded by each agent."""
AGENT_FRAMES = 0.7
"""The share of them that the agent plays, which acts by chance; the rest is random play."""


def train_rounds(
    train: TrainConfig,
    name: str,
    presentation: Presentation,
    rounds: int,
    processes: int,
) -> Path:
    """Train in rounds within the time of one run; return the folder of the packed world.

    Args:
        train: the whole training, which ends by the clock; its folder is a pattern for the rounds'.
        name: the world's name.
        presentation: of the world.
        rounds: their number.
        processes: that train.

    Raises:
        ConfigError: the training ends by its steps, or there are no rounds.
    """
    check_rounds(rounds, bool(train.seconds))
    minutes = train.seconds / 60
    share = (1 - AGENT_SHARE) / rounds if rounds > 1 else 1.0
    draft = Path()
    for number in range(1, rounds + 1):
        folder = train.out.with_name(f"{train.out.name}-{number}" if number > 1 else train.out.name)
        config = dataclasses.replace(train, out=folder)
        if rounds > 1:
            config = dataclasses.replace(config, minutes=minutes * share)
        if number > 1:
            print(f"== round {number} of {rounds}")
            agent_minutes = minutes * AGENT_SHARE / (rounds - 1)
            data = record_again(draft, folder.with_name(f"data-{number}"), train, agent_minutes)
            train = dataclasses.replace(train, data=(*train.data, data))
            config = _go_on(dataclasses.replace(config, data=train.data), draft)
        launch(config, processes)
        draft = folder.with_name(f"world-{number}" if number > 1 else "world") / name
        shutil.rmtree(draft, ignore_errors=True)  # an earlier call may have had other settings
        pack(folder, draft, name, presentation)
    return draft


def check_rounds(rounds: int, timed: bool) -> None:
    """Check that there can be so many rounds.

    Args:
        rounds: their number.
        timed: whether the training ends by the clock.

    Raises:
        ConfigError: the training ends by its steps, or there are no rounds.
    """
    if rounds < 1 or (rounds > 1 and not timed):
        raise ConfigError(
            f"rounds is {rounds}; expected 1 or more, and 1 where the training has steps: give it "
            "minutes to share"
        )


def record_again(draft: Path, out: Path, train: TrainConfig, minutes: float) -> Path:
    """Train an agent in a dream and record the real game with it; return the data set's folder."""
    first = EpisodeStore.open(train.data[0])
    height, width, _ = first.frame_shape
    shelf = os.pathsep.join(filter(None, [str(draft.parent.resolve()), os.environ.get(VARIABLE)]))
    environment = {**os.environ, VARIABLE: shelf, "OMP_NUM_THREADS": "1"}
    agent = out.with_name(f"{out.name}-agent") / "agent.zip"
    if not agent.is_file():
        run_together(
            [sys.executable, "-m", "dfgym.agents.ppo", "--env", f"DFWorld/{draft.name}",
             "--minutes", str(minutes), "--steps", str(10**9), "--out", str(agent.parent),
             "--device", train.device],
            [environment], "training an agent",
        )  # fmt: skip
    frames = max(2, int(first.num_frames * DATA_SHARE))
    run_together(
        [sys.executable, "-m", "dfgym.cli", "record", f"DFReal/{draft.name}", str(out),
         "--frames", str(frames), "--resize", str(height), str(width), "--filter", "nearest",
         "--max-episode-steps", str(first.meta["max_episode_steps"]),
         "--policies", f"sb3:ppo:{agent}", str(AGENT_FRAMES),
         "sticky-random", str(1 - AGENT_FRAMES)],
        [environment], "recording",
    )  # fmt: skip
    return out


def _go_on(config: TrainConfig, draft: Path) -> TrainConfig:
    """Begin with the weights of a world, unless the new data hold what it does not know."""
    begun = dataclasses.replace(config, from_world=str(draft.resolve()), image_steps=0)
    try:
        survey_run(begun, [EpisodeStore.open(path) for path in begun.data])
    except ConfigError as reason:
        print(f"the network begins anew: {reason}")
        return config
    return begun
