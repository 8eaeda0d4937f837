"""Whether a long dream fades, blurs, freezes or forgets the rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dfgym.evaluation import metrics
from dfgym.evaluation.plots import line_plot
from dfgym.evaluation.report import Section, Table
from dfgym.evaluation.rollout import (
    Dream,
    Episode,
    Real,
    is_breakout,
    is_cartpole,
    players,
    roll,
)
from dfgym.games import breakout_referee as referee
from dfgym.games import cartpole_judge as cartpole

if TYPE_CHECKING:
    from dfgym.evaluation.fidelity import MakeDynamics
    from dfgym.world.card import Card

MEASURES = (metrics.brightness, metrics.detail, metrics.change)
JUDGED = 200
"""Frames of each block that are held against the real game's drawing, about; each takes 4 ms."""


def drift(
    make: MakeDynamics,
    card: Card,
    frames: int = 10_000,
    rows: int = 4,
    blocks: int = 10,
    seed: int = 3,
) -> dict[str, Any]:
    """Watch the scripted player play on and on, block by block.

    Args:
        make: makes the dynamics.
        card: of the world.
        frames: in each row; an episode has no limit, and one that ends begins anew.
        rows: games side by side.
        blocks: the run is cut into as many.
        seed: of both games and of the player.

    Returns:
        `block` (its frames) and, for `dream` and `real`, `longest` (transitions of the longest
        episode) and lists over the blocks: `brightness`, `detail`, `change` (see `pictures`); of
        MinAtar Breakout `illegal_per_1000`, of CartPole `drawn_error`, in grey levels (the mean of
        `cartpole.Pictures.drawn` over evenly spaced frames).
    """
    size = -(-frames // blocks)
    result: dict[str, Any] = {"block": size}
    for name, game in (("dream", Dream(make(rows), seed)), ("real", Real(card, rows, seed))):
        episodes = roll(game, players(card, rows, 0.0, seed), frames * rows)
        pieces = _pieces(episodes, rows, size)
        result[name] = {"longest": max(map(len, episodes))}
        for measure in MEASURES:
            values = [measure(episode.frames[a : b + 1]) for episode, _, a, b in pieces]
            result[name][measure.__name__] = _means(pieces, values)
        if is_breakout(card):
            verdicts = {id(e): referee.judge_one(e) for e in episodes}
            values = [1000 * (~verdicts[id(e)].legal[a:b]).mean() for e, _, a, b in pieces]
            result[name]["illegal_per_1000"] = _means(pieces, values)
        if is_cartpole(card):
            result[name]["drawn_error"] = _drawn_errors(pieces, stride=-(-size * rows // JUDGED))
    return result


Piece = tuple[Episode, int, int, int]
"""An episode, a block, and the transitions (first and end) of the one in the other."""


def _pieces(episodes: Sequence[Episode], rows: int, size: int) -> list[Piece]:
    """Lay each row's episodes end to end and cut them into blocks of `size` transitions."""
    pieces, clock = [], [0] * rows
    for episode in episodes:
        first = 0
        while first < len(episode):
            block, inside = divmod(clock[episode.row], size)
            end = min(len(episode), first + size - inside)
            pieces.append((episode, block, first, end))
            clock[episode.row] += end - first
            first = end
    return pieces


def _drawn_errors(pieces: Sequence[Piece], stride: int) -> list[float]:
    """How far every `stride`-th frame of each piece is from the real drawing, block by block."""
    shown = [episode.frames[first + 1 : end + 1][::stride] for episode, _, first, end in pieces]
    drawn = cartpole.judge_pictures(np.concatenate(shown)).drawn
    parts = np.split(drawn, np.cumsum([len(frames) for frames in shown])[:-1])
    return _means(pieces, [float(part.mean()) for part in parts])


def _means(pieces: Sequence[Piece], values: Sequence[float]) -> list[float]:
    """Mean of the pieces' values in each block, weighted by their lengths."""
    blocks = np.array([block for _, block, _, _ in pieces])
    lengths = np.array([end - first for _, _, first, end in pieces])
    totals = np.bincount(blocks, lengths * np.array(values))
    return (totals / np.bincount(blocks, lengths)).tolist()


TITLES = {
    "brightness": "brightness in grey levels",
    "detail": "difference of neighbouring pixels",
    "change": "share of pixels that change in a step",
    "illegal_per_1000": "illegal transitions in 1,000",
    "drawn_error": "difference from the real game's drawing in grey levels",
}


def section(result: dict[str, Any]) -> Section:
    """Report what the frames of one long game look like as it goes on."""
    dream, real = result["dream"], result["real"]
    count = len(dream["brightness"])
    places = [result["block"] * (index + 1) for index in range(count)]
    measured = {key: title for key, title in TITLES.items() if key in dream}
    plots = [
        line_plot(
            title,
            places,
            {"dream": dream[key], "real": real[key]},
            "frames played",
            y_range=(0, 0),
        )
        for key, title in measured.items()
    ]
    rows = [
        [f"{name}, {title}", *(f"{value:.3g}" for value in game[key])]
        for key, title in measured.items()
        for name, game in (("dream", dream), ("real", real))
    ]
    comparisons = [
        f"{title}: {dream[key][-1]:.3g} (real: {real[key][-1]:.3g})"
        for key, title in measured.items()
    ]
    return Section(
        "Drift",
        f"In the last of {count} blocks of {result['block']:,} frames, {'; '.join(comparisons)}.",
        "The same player plays on in dream and real game, without a limit on the episode; one that "
        f"ends begins anew. The longest episodes had {dream['longest']:,} steps (dream) and "
        f"{real['longest']:,} (real).",
        plots=plots,
        table=Table(["after", *(f"{place:,}" for place in places)], rows),
    )
