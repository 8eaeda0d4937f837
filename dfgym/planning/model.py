"""A dream as the model of a search: a tree of frames, all leaves of all games in one pass.

A network pass over a frame writes one slot of its row's cache and reads the slots of the frames
before it (`dfgym.model.network`). So a node keeps its own slot alone, and a pass below it gathers
those of its ancestors. The rows that pass the network stay where they are between simulations, and
only slots that another path needs are copied. What has been worked out below the outcome that a
game then takes is still true there, and is kept for the next search (`DreamModel.advance`).

Legend: b games, n nodes (the root is 0), k outcomes of an action, r slots of a cache.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

import numpy as np
import torch
from torch import Tensor

from dfgym.errors import ConfigError
from dfgym.planning.nodes import NONE, Nodes
from dfgym.planning.search import Evaluation, Expansion
from dfgym.world.cache import Batch
from dfgym.world.conditions import Conditions
from dfgym.world.dynamics import Dynamics
from dfgym.world.outcomes import merge, sample_seeds
from dfgym.world.runtime import available_bytes

Evaluate = Callable[[np.ndarray, Batch], Evaluation]
"""Evaluates frames, uint8 `(m, h, w, 3)` at model size: logits `(m, a)` and values `(m,)`. The rows
that have just come to them may be stepped on, since they are copies."""

SCRIBBLED = -2  # in place of a node's number: a pass has written there


class DreamModel:
    """The games of a dynamics, as they stand when `root` is called.

    Outcomes that draw the same frame are one, since their futures are the same, and those that are
    too unlikely are left out. A world that tells no outcomes apart gives equally likely samples.

    Args:
        dynamics: the dream; nothing of it moves.
        evaluate: judges frames.
        num_outcomes: k, the likeliest outcomes that are kept of an action; or the samples.
        min_probability: outcomes that are less likely are left out.
        merge: whether nodes of a game that come at the same time, by the same action, from the same
            frame to the same frame are one. That is true of a game whose state two frames and an
            action show; others need more of the past.

    Raises:
        ConfigError: the dream commits no frames (the context mode `kept`), its actions are not
            discrete, or it has a memory, which holds more than a frame's own slot.
    """

    def __init__(
        self,
        dynamics: Dynamics,
        evaluate: Evaluate,
        num_outcomes: int = 4,
        min_probability: float = 0.01,
        merge: bool = True,
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
        if (memory := dynamics.world.card.model.memory) != "none":
            raise ConfigError(
                f"{dynamics.world.card.name} has the memory {memory!r}, of which a pass changes "
                "more than its own frame's part, so that a node cannot keep that alone; a search "
                "takes worlds of the memory 'none'"
            )
        self.dynamics, self.evaluate = dynamics, evaluate
        self.num_outcomes, self.min_probability, self.merge = num_outcomes, min_probability, merge
        self.games = np.arange(dynamics.num_rows)
        card = dynamics.world.card
        frame = dynamics.present.frames.shape[1:]
        self.nodes = Nodes(frame, card.actions.count, num_outcomes)
        self._roots = self._kept = np.full(len(self.games), NONE)

    def check_memory(self, simulations: int) -> None:
        """Refuse a search whose nodes would not fit.

        Raises:
            ConfigError: so many simulations need more memory than is free.
        """
        slots = tensors_of(self.dynamics.batch)
        node = sum(tensor[0, 0].numel() * tensor.element_size() for tensor in slots)
        need = node * self.num_outcomes * len(self.games) * simulations
        free = available_bytes(self.dynamics.device)
        if need > free:
            raise ConfigError(
                f"{simulations} simulations in {len(self.games)} games need up to "
                f"{need / 2**30:.3g} GiB, and {free / 2**30:.3g} GiB are free; "
                f"the most that would fit are {simulations * free // need}"
            )

    def advance(self, actions: np.ndarray) -> None:
        """Keep what is known below the outcomes that the games have come to.

        The next search then need not work it out again. Without this call, it begins anew.

        Args:
            actions: int64 `(b,)`, that the games have taken since the last search; `NONE` for a
                game that has begun anew.
        """
        nodes, rows = self.nodes, self.games
        if not nodes.size:
            return
        below = nodes.children[self._roots, actions]
        frames = self.dynamics.present.frames[:, None]
        same = (nodes.frame[below] == frames).all((2, 3, 4)) & (below != NONE)
        same &= nodes.time[below] == self.dynamics.present.time.cpu().numpy()[:, None]
        same &= ((self._roots != NONE) & (actions != NONE))[:, None]
        self._kept = np.where(same.any(1), below[rows, same.argmax(1)], NONE)

    @torch.inference_mode()
    def root(self) -> Evaluation:
        """Begin a tree at the states that the games are in."""
        nodes, device = self.nodes, self.dynamics.device
        self._root = self.dynamics.batch
        self._rows = self._root.select(torch.arange(len(self.games), device=device))
        # Whose slot each row holds, for each length of a cache that there is; NONE is the game's.
        lengths = {tensor.shape[1] for tensor in tensors_of(self._root)}
        self._holders = {slots: np.full((len(self.games), slots), NONE) for slots in lengths}
        self._roots, self._kept = nodes.keep(self._kept), np.full(len(self.games), NONE)
        new = np.flatnonzero(self._roots == NONE)
        if new.size:
            frames = self.dynamics.frames()[new]
            batch = self._root.select(torch.from_numpy(new).to(device))
            time = batch.time.cpu().numpy()
            logits, value = self.evaluate(frames, batch)
            self._roots[new] = nodes.add(
                [None] * len(new), parent=NONE, time=time, frame=frames, logits=logits, value=value
            )
        nodes.number[:] = NONE
        nodes.number[self._roots] = 0
        self._place = self._roots[:, None]
        return Evaluation(nodes.logits[self._roots], nodes.value[self._roots])

    @torch.inference_mode()
    def expand(self, parents: np.ndarray, actions: np.ndarray, first: int) -> Expansion:
        """Work out what one action in one node of each game leads to, see `search.Model`."""
        nodes, places = self.nodes, self._place[self.games, parents]
        new = np.flatnonzero(nodes.children[places, actions, 0] == NONE)
        if new.size:
            self._work_out(new, places[new], actions[new])
        below, weights = nodes.children[places, actions], nodes.weights[places, actions]
        there = below != NONE
        numbers = np.tile(first + np.arange(self.num_outcomes), (len(self.games), 1))
        older = there & (nodes.number[below] != NONE)
        numbers[older] = nodes.number[below[older]]
        nodes.number[below[there]] = numbers[there]
        place = np.full((len(self.games), first + self.num_outcomes), NONE)
        place[:, : self._place.shape[1]] = self._place
        place[:, first:] = np.where(older, NONE, below)
        self._place = place
        with np.errstate(divide="ignore"):
            log_weights = np.log(np.where(there, weights, 0))
        evaluation = Evaluation(nodes.logits[below], nodes.value[below])
        reward, survival = nodes.reward[below], nodes.survival[below]
        return Expansion(log_weights, reward, survival, evaluation, numbers)

    def _work_out(self, games: np.ndarray, places: np.ndarray, actions: np.ndarray) -> None:
        """Add the outcomes of actions to nodes of some games, which have not been tried there."""
        dynamics, nodes = self.dynamics, self.nodes
        self._gather(games, places)
        time = nodes.time[places]
        rows = self._rows._replace(time=self._rows.time.clone())
        index = torch.from_numpy(games).to(dynamics.device)
        rows.time[index] = torch.from_numpy(time).to(dynamics.device)
        if len(games) < len(self.games):
            rows = rows.select(index)
        else:  # no copies: the pass writes into the rows themselves
            for slots, holder in self._holders.items():
                holder[games, time % slots] = SCRIBBLED
        conditions = dynamics.condition(actions)
        weights, frames, clean = self._imagine(conditions, rows)
        nodes.weights[places, actions] = weights
        game, outcome = np.nonzero(weights)  # one row for each outcome that is left
        frames, action = frames[game, outcome], actions[game]
        keys = self._keys(games[game], places[game], action, frames)
        below = np.array([nodes.places.get(key, NONE) for key in keys])
        new = np.flatnonzero(below == NONE)
        if new.size:
            pictures = clean[game[new], outcome[new]]
            below[new] = self._add(
                [keys[i] for i in new],
                (conditions, rows, pictures, game[new]),
                parent=places[game[new]],
                frame=frames[new],
            )
        nodes.children[places[game], action, outcome] = below

    def _keys(
        self, games: np.ndarray, parents: np.ndarray, actions: np.ndarray, frames: np.ndarray
    ) -> list[Hashable]:
        """Say of nodes, by the nodes and actions that lead to them, when they are the same."""
        if not self.merge:
            return [object() for _ in games]
        times, before = self.nodes.time[parents].tolist(), self.nodes.frame[parents]
        pairs = zip(before, frames, strict=True)
        shows = [(old.tobytes(), new.tobytes()) for old, new in pairs]
        return list(zip(games.tolist(), times, actions.tolist(), shows, strict=True))

    def _add(
        self,
        keys: list[Hashable],
        passed: tuple[Conditions, Batch, Tensor, np.ndarray],
        **numbers: np.ndarray,
    ) -> np.ndarray:
        """Commit pictures in rows of a batch, and add them as nodes; returns their places."""
        (conditions, rows, pictures, row), dynamics, nodes = passed, self.dynamics, self.nodes
        index = torch.from_numpy(row).to(dynamics.device)
        batch = rows.select(index)
        conditions = conditions._replace(places=conditions.places[index])
        reward, end = dynamics.expect(dynamics.commit(pictures, conditions, batch))
        time = (batch.time + 1).cpu().numpy()
        places = nodes.add(keys, time=time, reward=reward, survival=1 - end, **numbers)
        nodes.write(places, tensors_of(batch), batch.time)
        evaluation = self.evaluate(numbers["frame"], batch._replace(time=batch.time + 1))
        nodes.logits[places], nodes.value[places] = evaluation
        return places

    def _imagine(
        self, conditions: Conditions, rows: Batch
    ) -> tuple[np.ndarray, np.ndarray, Tensor]:
        """Work out the outcomes of an action in every row.

        Returns:
            Probabilities `(b, k)`, 0 for those that are left out; frames `(b, k, h, w, 3)`; and the
            same encoded.
        """
        dynamics, k, b = self.dynamics, self.num_outcomes, len(rows.time)
        if not dynamics.exact:
            samples = rows.repeat(k)._replace(seeds=sample_seeds(rows.seeds, k))
            frames, clean, _ = dynamics.generate(conditions.repeat(k), samples)
            pictures = frames.view(b, k, *frames.shape[1:]).cpu().numpy()
            return np.full((b, k), 1 / k), pictures, clean.view(b, k, *clean.shape[1:])
        prediction, _ = dynamics.predict(conditions, rows)
        weights = prediction.log_weights.double().softmax(-1)
        frames, clean = dynamics.codec.round(prediction.scores)
        pictures = frames.cpu().numpy()
        merged, order = merge(weights.cpu().numpy(), pictures, k, self.min_probability)
        place = torch.from_numpy(order).to(dynamics.device)
        clean = clean[torch.arange(b, device=dynamics.device)[:, None], place]
        return merged, pictures[np.arange(b)[:, None], order], clean

    def _gather(self, games: np.ndarray, places: np.ndarray) -> None:
        """Bring the slots of nodes and their ancestors into the rows that pass the network."""
        nodes = self.nodes
        for slots, holder in self._holders.items():
            wanted, node = np.full((len(games), slots), NONE), places.copy()
            for _ in range(slots - 1):
                inside = np.flatnonzero(nodes.parent[node] != NONE)
                if not inside.size:
                    break
                wanted[inside, (nodes.time[node[inside]] - 1) % slots] = node[inside]
                node[inside] = nodes.parent[node[inside]]
            changed = holder[games] != wanted
            # The slot that is about to be written needs nothing in it.
            changed[np.arange(len(games)), nodes.time[places] % slots] = False
            rows, slot = np.nonzero(changed)
            holder[games[rows], slot] = wanted[rows, slot]
            self._copy(slots, games[rows], slot, wanted[rows, slot])

    def _copy(self, slots: int, rows: np.ndarray, slot: np.ndarray, places: np.ndarray) -> None:
        """Copy nodes' slots into rows of those caches that are `slots` long."""
        for of_root in (True, False):
            some = (places == NONE) == of_root
            if not some.any():
                continue
            at = (torch.from_numpy(rows[some]), torch.from_numpy(slot[some]))
            place = torch.from_numpy(places[some])
            sources = tensors_of(self._root) if of_root else self.nodes.slots
            for tensor, source in zip(tensors_of(self._rows), sources, strict=True):
                if tensor.shape[1] == slots:
                    tensor[at] = source[at] if of_root else source[place]


def tensors_of(batch: Batch) -> list[Tensor]:
    """Return all tensors of a batch's caches, each `(b, r, ...)`."""
    return [tensor for cache in batch.caches for layer in cache for tensor in layer]


def copy_rows(dynamics: Dynamics, rows: np.ndarray) -> Dynamics:
    """Return another dynamics, whose rows stand where some of this one's do.

    Args:
        dynamics: a dream that is run with the settings of its card.
        rows: int64 `(n,)`, each as often as it is named.
    """
    copy = Dynamics(dynamics.world, len(rows))
    copy.set_state(np.arange(len(rows)), dynamics.get_state(rows))
    return copy


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


@torch.inference_mode()
def evaluation_noise(
    dynamics: Dynamics, evaluate: Evaluate, discount: float, generator: np.random.Generator
) -> float:
    """Measure the error of an evaluation: how far it contradicts itself from a step to the next.

    The policy plays the dream from real frames. Values that were exact would differ between two
    steps by the reward, and by what chance has brought.

    Args:
        dynamics: the dream; its rows are begun anew, and left where they come to.
        evaluate: judges frames.
        discount: of rewards, a step.
        generator: of the states, and of the actions.

    Returns:
        The deviation of the temporal difference, from the median of its size (of a normal
        distribution), so that the few steps that decide a game do not count as noise.
    """
    rows, starts = np.arange(dynamics.num_rows), dynamics.world.starts
    contexts = []
    for _ in rows:
        frames, actions = starts.episode(int(generator.integers(len(starts))))
        last = int(generator.integers(len(frames)))
        contexts.append((frames[: last + 1], actions[:last]))
    dynamics.reset(rows, generator.integers(2**62, size=len(rows)), contexts)
    now, errors = evaluate(dynamics.frames(), dynamics.batch.repeat(1)), []
    alive = np.ones(len(rows), bool)
    for _ in range(max(4, 256 // len(rows))):
        gumbel = generator.gumbel(size=now.logits.shape)
        transition = dynamics.step((now.logits + gumbel).argmax(1))
        alive &= ~transition.terminated
        after = evaluate(dynamics.frames(), dynamics.batch.repeat(1))
        errors.append((transition.rewards + discount * after.value - now.value)[alive])
        now = after
    sizes = np.abs(np.concatenate(errors))
    return float(1.4826 * np.median(sizes)) if sizes.size else 0.0
