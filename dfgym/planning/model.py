"""A dream as the model of a search: a tree of frames, all leaves of all games in one pass.

A network pass over a frame writes one slot of its row's cache and reads the slots of the frames
before it (`dfgym.model.network`). So a node keeps its own slot alone, and a pass below it gathers
those of its ancestors. The rows that pass the network stay where they are between simulations, and
only slots that another path needs are copied.

Legend: b games, n nodes (the root is 0), k outcomes of an action, r slots of a cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from dfgym.errors import ConfigError
from dfgym.planning.search import Evaluation, Expansion
from dfgym.world.cache import Batch
from dfgym.world.conditions import Conditions
from dfgym.world.dynamics import Dynamics
from dfgym.world.outcomes import merge, sample_seeds
from dfgym.world.runtime import available_bytes

Evaluate = Callable[[np.ndarray, Batch], Evaluation]
"""Evaluates frames, uint8 `(m, h, w, 3)` at model size: logits `(m, a)` and values `(m,)`. The rows
that have just come to them may be stepped on, since they are copies."""

SCRIBBLED = -1  # in place of a node's number: a pass has written there


class DreamModel:
    """The games of a dynamics, as they stand when `root` is called.

    Outcomes that draw the same frame are one, since their futures are the same, and those that are
    too unlikely are left out. A world that tells no outcomes apart gives equally likely samples.

    Args:
        dynamics: the dream; nothing of it moves.
        evaluate: judges frames.
        num_outcomes: k, the likeliest outcomes that are kept of an action; or the samples.
        min_probability: outcomes that are less likely are left out.

    Raises:
        ConfigError: the dream commits no frames (the context mode `kept`), or its actions are not
            discrete.
    """

    def __init__(
        self,
        dynamics: Dynamics,
        evaluate: Evaluate,
        num_outcomes: int = 4,
        min_probability: float = 0.01,
    ) -> None:
        if not dynamics.commits:
            raise ConfigError(
                "context_mode is 'kept', in which no finished frame is committed, so that a search "
                "cannot branch there; take another context_mode"
            )
        if not dynamics.world.card.actions.is_discrete:
            raise ConfigError(
                f"{dynamics.world.card.name} has actions of kind "
                f"'{dynamics.world.card.actions.kind}'; a search tries one by one those of "
                "'discrete' alone"
            )
        self.dynamics, self.evaluate = dynamics, evaluate
        self.num_outcomes, self.min_probability = num_outcomes, min_probability
        self.games = np.arange(dynamics.num_rows)
        self._pool: list[Tensor] = []

    def check_memory(self, simulations: int) -> None:
        """Refuse a search whose nodes would not fit.

        Raises:
            ConfigError: so many simulations need more memory than is free.
        """
        slots = [
            tensor for cache in self.dynamics.batch.caches for layer in cache for tensor in layer
        ]
        node = sum(tensor[0, 0].numel() * tensor.element_size() for tensor in slots)
        need = node * self.num_outcomes * len(self.games) * simulations
        free = available_bytes(self.dynamics.device)
        if need > free:
            raise ConfigError(
                f"{simulations} simulations in {len(self.games)} games need up to "
                f"{need / 2**30:.3g} GiB, and {free / 2**30:.3g} GiB are free; "
                f"the most that would fit are {simulations * free // need}"
            )

    @torch.inference_mode()
    def root(self) -> Evaluation:
        """Begin a tree at the states that the games are in."""
        b = len(self.games)
        self._root = self.dynamics.batch
        self._rows = self._root.select(torch.arange(b, device=self.dynamics.device))
        # Which node's slot each row holds, for each length of a cache that there is.
        lengths = {tensor.shape[1] for tensor in self._tensors(self._root)}
        self._holders = {slots: np.zeros((b, slots), np.int64) for slots in lengths}
        self._time = self._root.time.cpu().numpy()
        self._parent = np.zeros((b, 1), np.int64)
        self._depth = np.zeros((b, 1), np.int64)
        self._place = np.zeros((b, 1), np.int64)
        self._size = 0
        return self.evaluate(self.dynamics.frames(), self._root.repeat(1))

    @torch.inference_mode()
    def expand(self, parents: np.ndarray, actions: np.ndarray, first: int) -> Expansion:
        """Work out what one action in one node of each game leads to, see `search.Model`."""
        dynamics = self.dynamics
        self._gather(parents)
        depth = self._depth[self.games, parents]
        time = torch.from_numpy(self._time + depth).to(dynamics.device)
        rows = self._rows._replace(time=time)
        for slots, holder in self._holders.items():
            holder[self.games, (self._time + depth) % slots] = SCRIBBLED
        conditions = dynamics.condition(actions)
        weights, frames, clean = self._imagine(conditions, rows)
        game, outcome = np.nonzero(weights)  # one row for each outcome that is left
        index = torch.from_numpy(game).to(dynamics.device)
        pictures = clean[index, torch.from_numpy(outcome).to(dynamics.device)]
        batch = rows.select(index)
        conditions = conditions._replace(places=conditions.places[index])
        tokens = dynamics.commit(pictures, conditions, batch)
        reward, end = dynamics.expect(tokens)
        self._store(parents, first, (game, outcome), batch)
        evaluation = self.evaluate(frames[game, outcome], batch._replace(time=batch.time + 1))
        return lay_out(weights, (game, outcome), (reward, 1 - end), evaluation)

    def _imagine(
        self, conditions: Conditions, rows: Batch
    ) -> tuple[np.ndarray, np.ndarray, Tensor]:
        """Work out the outcomes of an action in every game.

        Returns:
            Probabilities `(b, k)`, 0 for those that are left out; frames `(b, k, h, w, 3)`; and the
            same encoded.
        """
        dynamics, k, b = self.dynamics, self.num_outcomes, len(self.games)
        if not dynamics.exact:
            samples = rows.repeat(k)._replace(seeds=sample_seeds(rows.seeds, k))
            frames, clean, _ = dynamics.generate(conditions.repeat(k), samples)
            pictures = frames.view(b, k, *frames.shape[1:]).cpu().numpy()
            return np.full((b, k), 1 / k), pictures, clean.view(b, k, *clean.shape[1:])
        prediction = dynamics.predict(conditions, rows)
        weights = prediction.log_weights.double().softmax(-1)
        frames, clean = dynamics.codec.round(prediction.scores)
        pictures = frames.cpu().numpy()
        merged, order = merge(weights.cpu().numpy(), pictures, k, self.min_probability)
        place = torch.from_numpy(order).to(dynamics.device)
        clean = clean[torch.arange(b, device=dynamics.device)[:, None], place]
        return merged, pictures[self.games[:, None], order], clean

    def _gather(self, parents: np.ndarray) -> None:
        """Bring the slots of the nodes' ancestors into the rows that pass the network."""
        for slots, holder in self._holders.items():
            wanted, node = np.zeros_like(holder), parents.copy()
            for _ in range(slots - 1):
                inside = np.flatnonzero(node)
                if not inside.size:
                    break
                slot = (self._time[inside] + self._depth[inside, node[inside]] - 1) % slots
                wanted[inside, slot] = node[inside]
                node[inside] = self._parent[inside, node[inside]]
            changed = holder != wanted
            # The slot that is about to be written needs nothing in it.
            own = (self._time + self._depth[self.games, parents]) % slots
            changed[self.games, own] = False
            rows, slot = np.nonzero(changed)
            holder[rows, slot] = wanted[rows, slot]
            self._copy(slots, rows, slot, wanted[rows, slot])

    def _copy(self, slots: int, rows: np.ndarray, slot: np.ndarray, nodes: np.ndarray) -> None:
        """Copy nodes' slots into rows of those caches that are `slots` long."""
        for of_root in (True, False):
            some = (nodes == 0) == of_root
            if not some.any():
                continue
            at = (torch.from_numpy(rows[some]), torch.from_numpy(slot[some]))
            place = torch.from_numpy(self._place[rows[some], nodes[some]])
            sources = self._tensors(self._root) if of_root else self._pool
            for tensor, source in zip(self._tensors(self._rows), sources, strict=True):
                if tensor.shape[1] == slots:
                    tensor[at] = source[at] if of_root else source[place]

    def _store(
        self, parents: np.ndarray, first: int, nodes: tuple[np.ndarray, np.ndarray], batch: Batch
    ) -> None:
        """Keep the slots that have just been committed as those of new nodes."""
        (game, outcome), k, b = nodes, self.num_outcomes, len(self.games)
        end, tensors = self._size + len(game), self._tensors(batch)
        if not self._pool or len(self._pool[0]) < end:
            self._grow(tensors, end)
        rows = torch.arange(len(game), device=batch.time.device)
        for pool, tensor in zip(self._pool, tensors, strict=True):
            pool[self._size : end] = tensor[rows, batch.time % tensor.shape[1]]
        shape = (b, first + k)
        for name in ("_parent", "_depth", "_place"):
            old = getattr(self, name)
            new = np.zeros(shape, np.int64)
            new[:, : old.shape[1]] = old
            setattr(self, name, new)
        self._parent[:, first:] = parents[:, None]
        self._depth[:, first:] = self._depth[self.games, parents][:, None] + 1
        self._place[game, first + outcome] = np.arange(self._size, end)
        self._size = end

    def _grow(self, tensors: Sequence[Tensor], size: int) -> None:
        """Make room for `size` nodes and as many again."""
        old = self._pool or [tensor[:0, 0] for tensor in tensors]
        new = [tensor.new_empty(2 * size, *tensor.shape[1:]) for tensor in old]
        for target, source in zip(new, old, strict=True):
            target[: self._size] = source[: self._size]
        self._pool = new

    @staticmethod
    def _tensors(batch: Batch) -> list[Tensor]:
        return [tensor for cache in batch.caches for layer in cache for tensor in layer]


def lay_out(
    weights: np.ndarray,
    nodes: tuple[np.ndarray, np.ndarray],
    numbers: tuple[np.ndarray, np.ndarray],
    evaluation: Evaluation,
) -> Expansion:
    """Lay out what is known of some outcomes, `(m, ...)`, as `(b, k, ...)`.

    Args:
        weights: `(b, k)`, probabilities.
        nodes: games and outcomes, each `(m,)`.
        numbers: expected rewards and probabilities that the game goes on, each `(m,)`.
        evaluation: of the m outcomes.
    """
    shape = weights.shape
    logits = np.zeros((*shape, evaluation.logits.shape[1]))
    values, rewards, survival = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    logits[nodes], values[nodes] = evaluation
    rewards[nodes], survival[nodes] = numbers
    with np.errstate(divide="ignore"):
        log_weights = np.log(weights)
    return Expansion(log_weights, rewards, survival, Evaluation(logits, values))


def rollouts(
    dynamics: Dynamics, steps: int, discount: float, generator: np.random.Generator
) -> Evaluate:
    """Make an evaluation that needs no agent: all actions alike, and random play of a few steps.

    A game that goes on after them counts as worth 1 more, so that not to lose is worth something
    where the next reward is further than they reach.

    Args:
        dynamics: the dream.
        steps: of random play.
        discount: of rewards, a step.
        generator: of the play's chance.
    """
    actions = dynamics.world.card.actions.count

    @torch.inference_mode()
    def evaluate(frames: np.ndarray, batch: Batch) -> Evaluation:
        count = len(frames)
        value, weight = np.zeros(count), np.ones(count)
        seeds = torch.from_numpy(generator.integers(2**62, size=count)).to(dynamics.device)
        batch = batch._replace(seeds=seeds)
        for _ in range(steps):
            conditions = dynamics.condition(generator.integers(actions, size=count))
            _, clean, _ = dynamics.generate(conditions, batch)
            reward, end = dynamics.expect(dynamics.commit(clean, conditions, batch))
            batch = batch._replace(time=batch.time + 1)
            value += weight * reward
            weight *= discount * (1 - end)
        return Evaluation(np.zeros((count, actions)), value + weight)

    return evaluate
