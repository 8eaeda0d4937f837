"""Thinking ahead in a dream while playing the real game: search over what may happen next.

    python -m dfgym.agents.search --world minatar-breakout-v0 --simulations 32 --prior agent.zip
    python -m dfgym.agents.search --env DFWorld/minatar-breakout-v0 --simulations 8 --episodes 20

At every step the dream stands where the game stands, since it commits the game's own frames
(`Dynamics.observe`), and the search branches from there; see `dfgym.planning.search`. The prior is
a PPO or A2C agent's policy and value. Without one every action is as good as any other before the
search, and a state is worth what random play of a few steps from it brings.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import gymnasium as gym
import numpy as np
import torch
from msgspec import Meta
from stable_baselines3.common.policies import ActorCriticPolicy
from tqdm import tqdm

import dfgym
from dfgym import checks
from dfgym.agents import evaluate, players, saved, sb3
from dfgym.agents.sb3 import Count, Seed
from dfgym.device import use_threads
from dfgym.errors import ConfigError
from dfgym.planning.model import DreamModel, copy_rows, evaluation_noise, rollouts
from dfgym.planning.nodes import NONE
from dfgym.planning.search import Decision, Evaluation, SearchConfig, search

DISCOUNT = 0.98
"""Of rewards, a step, where the prior does not say: that of our agents' trainings."""


@dataclass(frozen=True)
class Config:
    """What plays, where it plans, and how much."""

    world: str = "minatar-breakout-v0"
    """The world to plan in: its name, or the path of its folder."""
    env: str = ""
    """Gymnasium id to play; by default the world's real game, `DFReal/<world>`."""
    simulations: Annotated[int, Meta(ge=0, le=4096)] = 32
    """Simulations a decision; 0 plays the prior alone."""
    prior: Path | None = None
    """A PPO or A2C agent's zip file (a pickle: only your own); none: rollouts of random play."""
    episodes: Count = 32
    """Episodes to play."""
    num_envs: Count = 32
    """Games that are played side by side; all their leaves pass the network together."""
    chance: Literal["exact", "sampled"] = "exact"
    """Whether actions are worth the mean over all outcomes, or over sampled ones."""
    value_noise: Annotated[float, Meta(ge=0)] | None = None
    """Deviation of the evaluation's error, in rewards: smaller differences hardly count. By default
    it is measured in the dream."""
    gumbel_scale: Annotated[float, Meta(ge=0)] = 0.0
    """The noise of the root's choice; 0 plays the action that the search holds best."""
    rollout: Annotated[int, Meta(ge=0, le=256)] = 8
    """Steps of random play that value a leaf where there is no prior."""
    seed: Seed = 10_000
    """Of the games, row by row, and of the search's chance."""
    out: Path | None = None
    """JSON file for the score and every episode."""
    threads: Count | None = None
    """Torch's CPU threads; by default those of OMP_NUM_THREADS, or 1."""

    def __post_init__(self) -> None:
        """Refuse what cannot be played."""
        checks.check(self, ConfigError)


class Planner:
    """Plays rows of a game, each followed by a row of the dream, in which it plans.

    Attributes:
        decision: the last search's; None where there is no search.
        decisions: how many actions have been chosen.
        seconds: how long that took, by the clock.
        processor_seconds: the same of all threads, which a busy machine changes less.
    """

    def __init__(
        self,
        dream: Any,
        prior: Prior | None,
        config: SearchConfig | None,
        seed: int,
        rollout: int = 8,
    ) -> None:
        """Prepare to plan.

        Args:
            dream: a dream's vector environment, a row for each game.
            prior: judges frames; None for rollouts of random play.
            config: how to search; None plays the prior's likeliest action.
            seed: of the search's chance.
            rollout: steps of random play.

        Raises:
            ConfigError: there is nothing to choose by, or the nodes would not fit into memory.
        """
        if prior is None and config is None:
            raise ConfigError("simulations is 0 and there is no prior; expected one of them")
        self.dynamics, self.prior, self.config = dream.dynamics, prior, config
        self.generator, self.rollout = np.random.default_rng(seed), rollout
        self.rows = np.arange(dream.num_envs)  # of the games, one for each row of the dream
        self.wanted = np.ones(dream.num_envs, bool)
        self.actions = np.zeros(dream.num_envs, np.int64)
        self.decision: Decision | None = None
        self.decisions, self.seconds, self.processor_seconds = 0, 0.0, 0.0
        self._begin()

    def _begin(self) -> None:
        """Make the model of the present dynamics."""
        discount = DISCOUNT if self.config is None else self.config.discount
        random_play = rollouts(self.dynamics, self.rollout, discount, self.generator)
        self.model = DreamModel(self.dynamics, self.prior.judge if self.prior else random_play)
        if self.config is not None:
            self.model.check_memory(self.config.simulations)

    def finish(self, row: int) -> None:
        """Plan for a game no more: from now on its action is 0."""
        self.wanted[row] = False
        rows = self.rows[self.wanted[self.rows]]
        if 0 < len(rows) <= len(self.rows) // 2:  # a smaller dream takes less time
            self.dynamics = copy_rows(self.dynamics, np.flatnonzero(self.wanted[self.rows]))
            self.rows = rows
            self._begin()

    def __call__(self, observations: np.ndarray, begins: np.ndarray) -> np.ndarray:
        """Choose every game's action.

        Args:
            observations: uint8 `(b, h, w, 3)` at the game's or the model's size.
            begins: bool `(b,)`, which games begin an episode; all others were played as chosen.
        """
        began, processor_began = time.perf_counter(), time.process_time()
        begins, actions = begins[self.rows], self.actions[self.rows]
        frames = follow(self.dynamics, observations[self.rows], begins, actions, self.generator)
        self.model.advance(np.where(begins, NONE, actions))
        if self.config is None:
            assert self.prior is not None
            actions = self.prior.judge(frames, self.dynamics.batch).logits.argmax(1)
        else:
            self.decision = search(self.model, self.config, self.generator)
            actions = self.decision.action
        self.actions = np.zeros_like(self.actions)
        self.actions[self.rows] = actions
        self.decisions += len(frames)
        self.seconds += time.perf_counter() - began
        self.processor_seconds += time.process_time() - processor_began
        return self.actions.copy()


def follow(
    dynamics: Any,
    observations: np.ndarray,
    begins: np.ndarray,
    actions: np.ndarray,
    generator: np.random.Generator,
) -> np.ndarray:
    """Bring a dream to where its games stand.

    Args:
        dynamics: the dream, a row for each game.
        observations: uint8 `(b, h, w, 3)` at the game's or the model's size.
        begins: bool `(b,)`, which games begin an episode.
        actions: that led to the observations of the others.
        generator: of the seeds of rows that begin.

    Returns:
        The observations at the model's size.

    Raises:
        ConfigError: they have another size.
    """
    card = dynamics.world.card
    factor = max(1, observations.shape[1] // card.frames.height)
    frames = np.ascontiguousarray(observations[:, ::factor, ::factor])
    if frames.shape[1:] != dynamics.frames().shape[1:]:
        raise ConfigError(
            f"the game's frames are {observations.shape[1:]} and {card.name}'s are "
            f"{card.frames.height}x{card.frames.width}; play the world's own real twin"
        )
    if not begins.all():
        dynamics.observe(actions, frames)
    if begins.any():
        rows = np.flatnonzero(begins)
        seeds = generator.integers(2**62, size=len(rows))
        nothing = card.actions.fill(0)
        dynamics.reset(rows, seeds, [(frames[row][None], nothing) for row in rows])
    return frames


class Prior:
    """A policy and a value from an actor-critic agent of Stable-Baselines3.

    Attributes:
        discount: of rewards, a step, that the agent's values count by.
    """

    def __init__(self, path: str | Path, frame: tuple[int, int], num_actions: int) -> None:
        """Load an agent.

        Args:
            path: its zip file.
            frame: height and width of a frame at model size.
            num_actions: of the world.

        Raises:
            ConfigError: there is no such agent, it has no policy and value, or other spaces.
        """
        algorithm = saved.find_algorithm(path) or "ppo"
        if algorithm not in ("ppo", "a2c"):
            raise ConfigError(
                f"{path} is an agent of {algorithm}; a prior needs a policy and values, as agents "
                "of ppo and a2c have them"
            )
        agent = saved.load(algorithm, path, gym.spaces.Box(0, 255, (*frame, 3), np.uint8))
        if agent.frame_stack > 1:
            raise ConfigError(
                f"{path} learned from {agent.frame_stack} frames at once; expected 1, since a node "
                "of a search has one"
            )
        if agent.model.action_space != gym.spaces.Discrete(num_actions):
            raise ConfigError(
                f"{path} has actions {agent.model.action_space} and the world has {num_actions} "
                "actions; use an agent of this world"
            )
        self.scale = agent.scale
        assert isinstance(agent.model.policy, ActorCriticPolicy)
        self.policy = agent.model.policy
        self.policy.set_training_mode(False)
        self.discount = float(agent.model.gamma)  # type: ignore[attr-defined]

    @torch.inference_mode()
    def judge(self, frames: np.ndarray, batch: Any = None) -> Evaluation:
        """Evaluate frames `(m, h, w, 3)` at model size; `batch` is of no effect."""
        large = frames.repeat(self.scale, axis=1).repeat(self.scale, axis=2)
        observations, _ = self.policy.obs_to_tensor(large)
        features = self.policy.extract_features(observations)
        if isinstance(features, tuple):  # policy and value look at the frame apart
            latents = (
                self.policy.mlp_extractor.forward_actor(features[0]),
                self.policy.mlp_extractor.forward_critic(features[1]),
            )
        else:
            latents = self.policy.mlp_extractor(features)
        logits = self.policy.action_net(latents[0]).double().numpy()
        return Evaluation(logits, self.policy.value_net(latents[1])[:, 0].double().numpy())


def open_dream(env: str, num_envs: int) -> Any:
    """Make the dream in which to plan for an environment.

    Args:
        env: the Gymnasium id of a dream, of its real twin, or of a game that a world was learned
            from.
        num_envs: rows.

    Raises:
        ConfigError: no world was learned from the environment.
    """
    name = env.rpartition(":")[2]
    twin = name.replace("DFReal/", "DFWorld/", 1)
    worlds = [id for id in gym.registry if id.startswith("DFWorld/")]
    matches = [id for id in worlds if id == twin] or [
        id for id in worlds if dfgym.source_id(id) == dfgym.source_id(env)
    ]
    if name == "DFWorld-v0":
        matches = [name]
    if not matches:
        raise ConfigError(
            f"no world was learned from {env!r}, so that there is no dream to plan in; play one of "
            f"{', '.join(sorted(worlds))}, or its twin DFReal/..."
        )
    return gym.make_vec(matches[0], num_envs=num_envs)


def plan_for(
    player: players.Player,
    env: str,
    num_envs: int,
    seed: int,
    gumbel_scale: float,
    noise: float | None = None,
) -> Planner:
    """Make the planner that a player's name asks for, with the settings' defaults.

    Args:
        player: the player.
        env: what it plays, see `open_dream`.
        num_envs: rows.
        seed: of the search's chance.
        gumbel_scale: see `SearchConfig`.
        noise: of the prior's values; None: it is measured.

    Raises:
        ConfigError: there is no dream of the environment, the prior does not fit, or the search is
            none.
    """
    dream = open_dream(env, num_envs)
    prior = load_prior(player.file, dream)
    discount = prior.discount if prior else DISCOUNT
    count = player.simulations
    if not count and prior is None:
        raise ConfigError("a search of 0 simulations needs an agent to play; expected at least 1")
    if not count:
        return Planner(dream, prior, None, seed)
    noise = measure_noise(prior, dream, seed) if noise is None else noise
    config = SearchConfig(count, discount, gumbel_scale=gumbel_scale, value_noise=noise)
    return Planner(dream, prior, config, seed)


def measure_noise(prior: Prior | None, dream: Any, seed: int) -> float:
    """Measure the error of a prior's values in a dream; without a prior there are none to doubt."""
    if prior is None:
        return 0.0
    random = np.random.default_rng(seed)
    return evaluation_noise(dream.dynamics, prior.judge, prior.discount, random)


def load_prior(path: str | Path | None, dream: Any) -> Prior | None:
    """Load the prior of a search in a dream's vector environment, if there is to be one."""
    card = dream.dynamics.world.card
    size = (card.frames.height, card.frames.width)
    return Prior(path, size, card.actions.count) if path else None


def main(config: Config) -> evaluate.Score:
    """Play the game, print the table, write the file."""
    use_threads("search", config.threads)
    rows = min(config.num_envs, config.episodes)
    dream: Any = gym.make_vec("DFWorld-v0", num_envs=rows, world=config.world)
    prior = load_prior(config.prior, dream)
    options = SearchConfig(
        max(1, config.simulations),
        prior.discount if prior else DISCOUNT,
        gumbel_scale=config.gumbel_scale,
        chance=config.chance,
    )
    noise = config.value_noise
    if noise is None and config.simulations:
        noise = measure_noise(prior, dream, config.seed)
    options = replace(options, value_noise=noise or 0.0)
    planner = Planner(
        dream, prior, options if config.simulations else None, config.seed, config.rollout
    )
    env = config.env or f"DFReal/{dream.dynamics.world.card.name}"
    venv = sb3.make_venv(env, rows)
    try:
        if venv.action_space != dream.single_action_space:
            raise ConfigError(
                f"{env} has actions {venv.action_space} and the world {dream.single_action_space}; "
                "they must be equal"
            )
        with tqdm(total=config.episodes, desc=env, unit="episode") as bar:
            played = evaluate.play_episodes(
                venv, planner, config.episodes, config.seed, bar, planner.finish
            )
    finally:
        venv.close()
        dream.close()
    name = f"search:{config.simulations}" + (f":{config.prior}" if config.prior else "")
    score = evaluate.Score(name, env, config.gumbel_scale == 0, config.seed, *played)
    print(f"{name}, {config.episodes} episodes, {config.chance} chance")
    print(evaluate.table([score]))
    rate = planner.decisions / planner.seconds
    processor_rate = planner.decisions / planner.processor_seconds
    rates = f"{rate:.1f} decisions a second, {processor_rate:.1f} a processor-second"
    print(f"{rates}, {rows} games side by side")
    if config.out is not None:
        record = score.to_dict() | {"simulations": config.simulations, "chance": config.chance}
        record |= {"value_noise": options.value_noise}
        config.out.parent.mkdir(parents=True, exist_ok=True)
        record |= {"decisions_per_second": rate, "per_processor_second": processor_rate}
        config.out.write_text(json.dumps(record, indent=2) + "\n")
    return score


if __name__ == "__main__":
    sys.exit(sb3.main(Config, main, __doc__))
