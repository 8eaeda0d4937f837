"""Players by name: the one grammar that every command shares.

    random                          an action drawn evenly at each step
    sticky-random                   the same, but the last action is repeated 4 times in 5
    scripted:<epsilon>[:<dawdle>]   the scripted policy of a known game (`dfgym.games`)
    sb3:<algorithm>:<zip file>      an agent that Stable-Baselines3 or sb3-contrib saved (a pickle:
                                    only your own); +module:Class behind it, once for each, are
                                    the wrappers that it was trained with, from the inside out
    module:<module>:<name>          a function from an observation to an action, in the game's own
                                    form, or a class of such functions, made with a seed (your own
                                    code, which is imported)
    search:<simulations>[:<zip file>]  a search in the game's dream; such an agent is its prior

A policy acts; a policy factory makes the policy of one episode.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import gymnasium as gym
import numpy as np

import dfgym
from dfgym import games
from dfgym.actions import Row
from dfgym.errors import ConfigError
from dfgym.games import Policy, RandomPolicy, ScriptedPolicy, packages
from dfgym.games.source import PolicyFactory, Source, SourcePolicy, WrappedPolicy
from dfgym.games.spaces import shift

HOLD = 0.8
"""The probability that sticky-random repeats its last action: 5 steps on average."""
FORMS = (
    "random, sticky-random, scripted:<epsilon>[:<dawdle>], "
    "sb3:<algorithm>:<zip file>[+module:Class ...], module:<module>:<name>, "
    "search:<simulations>[:<zip file>]"
)
_WRAPPER = re.compile(r"\+(?=[A-Za-z_][\w.]*:[A-Za-z_]\w*(?: |\+|$))", re.ASCII)


@dataclass(frozen=True)
class Player:
    """A player's name, taken apart."""

    kind: Literal["random", "sticky-random", "scripted", "sb3", "module", "search"]
    epsilon: float = 0.0
    """The share of a scripted policy's actions that are random."""
    dawdle: float = 0.0
    """The share of a scripted policy's play that is not good, but shows what it else would not."""
    algorithm: str = ""
    """The algorithm of Stable-Baselines3 that trained the agent."""
    file: str = ""
    """The agent's zip file; a search may have none."""
    wrappers: tuple[str, ...] = ()
    """The wrappers that the agent was trained with, from the inside out."""
    module: str = ""
    """The module of a player that is code."""
    name: str = ""
    """The function or class in it."""
    simulations: int = 0
    """A search's simulations for each of its decisions."""


def parse(name: str) -> Player:
    """Take a player's name apart.

    Raises:
        ConfigError: The name is none of `FORMS`.
    """
    match name.split(":", 2):
        case ["random" | "sticky-random" as kind]:
            return Player(kind)
        case ["scripted", epsilon, *rest]:
            try:
                return Player("scripted", float(epsilon), float(rest[0] if rest else 0))
            except ValueError as reason:
                raise ConfigError(f"player {name!r}: {reason}; allowed are {FORMS}") from reason
        case ["sb3", algorithm, file]:
            path, *wrappers = _WRAPPER.split(file)
            return Player("sb3", algorithm=algorithm, file=path, wrappers=tuple(wrappers))
        case ["module", module, place] if packages.MODULE.fullmatch(module) and place:
            return Player("module", module=module, name=place)
        case ["search", simulations, *rest] if simulations.isdecimal():
            return Player("search", simulations=int(simulations), file="".join(rest))
        case _:
            raise ConfigError(f"player {name!r} is unknown; allowed are {FORMS}")


def make_factory(name: str, env_id: str, source: Source) -> PolicyFactory:
    """Find a player by its name.

    Args:
        name: one of `FORMS`.
        env_id: the Gymnasium id of the environment; scripted players know some games only.
        source: the environment.

    Raises:
        ConfigError: The name is malformed, or the player does not fit the environment.
    """
    player, actions = parse(name), source.actions
    match player.kind:
        case "random":
            return lambda seed: _of_frames(RandomPolicy(actions, seed))
        case "sticky-random":
            return lambda seed: _of_frames(RandomPolicy(actions, seed, HOLD))
        case "scripted":
            spec = source.env.spec
            kwargs = {} if spec is None else spec.kwargs
            size = source.size or source.env.observation_space.shape
            make_scripted(player, env_id, size, 0, kwargs)  # raises now what it would raise later
            return lambda seed: _of_frames(make_scripted(player, env_id, size, seed, kwargs))
        case "sb3":
            return _make_sb3_factory(name, player, source)
        case "module":
            return _make_module_factory(player, source)
        case "search":
            return _make_search_factory(player, env_id)


def make_scripted(
    player: Player,
    env_id: str,
    size: tuple[int, ...] | None,
    seed: games.Seed,
    kwargs: Mapping[str, Any] | None = None,
) -> ScriptedPolicy:
    """Make the scripted policy of an environment's game.

    Args:
        player: of the kind "scripted".
        env_id: the environment's Gymnasium id; a world's stands for its real game.
        size: the frames' shape, which begins with height and width.
        seed: of the policy's own generator.
        kwargs: the environment's keywords; some make it another game.

    Raises:
        ConfigError: No scripted policy plays the game, or not in such frames.
    """
    game = games.find(dfgym.source_id(env_id), kwargs=kwargs)
    height_width = tuple(size or ())[:2]
    if game is None or (len(height_width) == 2 and not game.can_play(*height_width)):
        ids = ", ".join(game.env_id for game in games.all_games())
        raise ConfigError(
            f"there is no scripted player for {env_id!r} with frames of {height_width} and "
            f"keywords {dict(kwargs or {})}; there is one for each of {ids}"
        )
    try:
        return game.policy(player.epsilon, seed, player.dawdle)
    except ValueError as reason:
        raise ConfigError(f"scripted player: {reason}; allowed are {FORMS}") from reason


def _of_frames(policy: Policy) -> SourcePolicy:
    """Let a policy that chooses from frames alone play one episode."""
    return lambda observation, frame: policy(frame)


def _make_sb3_factory(name: str, player: Player, source: Source) -> PolicyFactory:
    from dfgym.agents import flat, saved  # Stable-Baselines3 is slow to import
    from dfgym.agents.atari import find_wrappers

    wrap = partial(_wrap, player.wrappers) if player.wrappers else find_wrappers(player, source)
    space: gym.Space[Any] = (wrap(source.env) if wrap else source.env).observation_space
    try:
        agent = saved.load(player.algorithm, player.file, space)
    except (ValueError, OSError) as reason:
        raise ConfigError(f"player {name!r}: {reason}") from reason
    try:
        read = flat.find_reader(agent.model.action_space, source.env.action_space, "the game")
    except ConfigError as reason:
        raise ConfigError(f"player {name!r}: {reason}; use an agent of this game") from reason

    def begin(seed: np.random.SeedSequence) -> SourcePolicy:
        if wrap is not None:
            own = source.env.action_space
            native = source.actions.native
            return WrappedPolicy(wrap, lambda: _in_own_form(agent.begin(read), own, native))
        play = agent.begin(read)
        return lambda observation, frame: play(observation)

    return begin


def _in_own_form(
    play: Callable[[Any], Row], own: gym.Space[Any], native: Callable[[Row], Any]
) -> Callable[[Any], Any]:
    """Let a player of rows choose actions in the game's own form."""
    return lambda observation: shift(own, native(play(observation)))


def _wrap(wrappers: tuple[str, ...], env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    for wrapper in wrappers:
        env = packages.wrap(env, wrapper, trusted=True)
    return env


def _make_module_factory(player: Player, source: Source) -> PolicyFactory:
    module = packages.import_game(player.module, f"player {player.name}", trusted=True)
    play = getattr(module, player.name, None)
    if not callable(play):
        raise ConfigError(
            f"player {player.name!r} is not in {player.module}; expected a function from an "
            "observation to an action, or a class of such functions"
        )
    own = source.env.action_space

    def begin(seed: np.random.SeedSequence) -> SourcePolicy:
        choose = play(int(seed.generate_state(1)[0])) if isinstance(play, type) else play
        return lambda observation, _: source.actions.row(shift(own, choose(observation), -1))

    return begin


def _make_search_factory(player: Player, env_id: str) -> PolicyFactory:
    from dfgym.agents.search import plan_for  # torch and Stable-Baselines3 are slow to import

    config = plan_for(player, env_id, 1, 0, 0.0).config  # raises now what it would raise later
    noise = config.value_noise if config else None  # the prior's, in whatever episode

    def begin(seed: np.random.SeedSequence) -> SourcePolicy:
        plan = plan_for(player, env_id, 1, int(seed.generate_state(1)[0]), 0.0, noise)
        begins = [True]

        def play(observation: Any, frame: np.ndarray) -> int:
            action = plan(frame[None], np.array([begins.pop() if begins else False]))
            return int(action[0])

        return play

    return begin
