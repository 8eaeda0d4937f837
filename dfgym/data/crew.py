"""Episodes played in one process or in several, in the same order and with the same bits.

An episode is a function of the seed, of its number and of its player, so it can be played before
its turn. Who plays next depends on how long the episodes before were; several processes play what
will probably be next, and what turns out otherwise is played again.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np

from dfgym.data.cluster import Cluster, RayFuture, RayPool
from dfgym.data.episode import EpisodeArrays, play_episode
from dfgym.data.game import Game
from dfgym.games.source import MakeEnv, Opening, PolicyFactory, Source, open_source

MakeFactory = Callable[[str, str, Source], PolicyFactory]
"""Finds a policy factory by a player's name, for an environment's id and the environment."""


@dataclass(frozen=True)
class Plan:
    """All that an episode follows from, besides its number and its player's name."""

    opening: Opening
    make: MakeEnv | None
    make_factory: MakeFactory
    names: tuple[str, ...]
    seed: int
    max_steps: int

    def seeds(self, number: int) -> tuple[int, np.random.SeedSequence]:
        """Return the seed of an episode's game, and its player's."""
        chance = np.random.SeedSequence([self.seed, number])
        return int(chance.generate_state(1)[0]), chance.spawn(1)[0]

    def factories(self, source: Source) -> dict[str, PolicyFactory]:
        """Find the players."""
        return {name: self.make_factory(name, self.opening.env, source) for name in self.names}

    def play(
        self,
        source: Source,
        factories: Mapping[str, PolicyFactory],
        episode: tuple[int, str],
        tick: Callable[[], object] = lambda: None,
    ) -> EpisodeArrays:
        """Play the episode of a number by a player's name."""
        number, name = episode
        game_seed, player_seed = self.seeds(number)
        policy = factories[name](player_seed)
        game = Game(source, f"{self.opening.env}, episode {number}")
        return play_episode(game, policy, game_seed, self.max_steps, tick)


class Crew:
    """Processes that play episodes ahead of their turn.

    Args:
        plan: what the episodes follow from; it can be pickled.
        processes: how many there are on this machine, or the cluster whose they are.

    Raises:
        ConfigError: there is no such cluster.
        MissingPackageError: ray is missing.
    """

    def __init__(self, plan: Plan, processes: int | Cluster) -> None:
        self._pool: ProcessPoolExecutor | RayPool
        if isinstance(processes, Cluster):
            self._pool = RayPool(processes, _open_worker, (plan,))
        else:
            self._pool = ProcessPoolExecutor(
                processes, multiprocessing.get_context("spawn"), _open_worker, (plan,)
            )
        self._ahead: dict[int, tuple[str, Future[EpisodeArrays] | RayFuture]] = {}

    def expect(self, episodes: list[tuple[int, str]]) -> None:
        """Play these episodes, by numbers and players, the first of them first."""
        for number, name in episodes:
            expected = self._ahead.get(number)
            if expected is None or expected[0] != name:
                if expected is not None:
                    expected[1].cancel()
                self._ahead[number] = name, self._pool.submit(_play, (number, name))

    def collect(self, number: int) -> EpisodeArrays:
        """Wait for an episode that is expected."""
        episode: EpisodeArrays = self._ahead.pop(number)[1].result()
        return episode

    def __enter__(self) -> Self:
        """For `with`: what plays no more is ended."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let the episodes that are being played end, and forget the others."""
        self._pool.shutdown(cancel_futures=True)


@dataclass
class _Worker:
    plan: Plan | None = None
    source: Source | None = None
    factories: Mapping[str, PolicyFactory] | None = None


_WORKER = _Worker()  # of this process, if a crew started it


def _open_worker(plan: Plan) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before an agent imports torch
    _WORKER.plan = plan
    _WORKER.source = open_source(plan.opening, True, plan.make)
    _WORKER.factories = plan.factories(_WORKER.source)


def _play(episode: tuple[int, str]) -> EpisodeArrays:
    plan, source, factories = _WORKER.plan, _WORKER.source, _WORKER.factories
    assert plan is not None and source is not None and factories is not None
    return plan.play(source, factories, episode)
