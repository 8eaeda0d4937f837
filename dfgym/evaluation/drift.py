"""Whether a long dream fades, blurs, freezes or forgets the rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dfgym.evaluation import legality, metrics
from dfgym.evaluation.plots import line_plot
from dfgym.evaluation.report import Rung, Section, Table
from dfgym.evaluation.rollout import (
    Dream,
    Episode,
    Real,
    describe_policy,
    find_game,
    policies,
    roll,
)
from dfgym.evaluation.subject import MakeDynamics, Subject
from dfgym.evaluation.verdict import Finding
from dfgym.frames import flicker
from dfgym.games import Drawings
from dfgym.world.card import Card

NAME = "drift"
COUNT = 10_000
MEASURES = (metrics.brightness, metrics.detail)
TITLES = {
    "brightness": "brightness in grey levels",
    "detail": "difference of neighbouring pixels",
    "change": "share of pixels that change in a step",
    "illegal_per_1000": "illegal transitions in 1,000",
    "drawn_error": "difference from the real game's drawing in grey levels",
}
JUDGED = 200
"""About so many frames of each block are compared with the real drawing; each takes 4 ms."""


def measure(subject: Subject) -> dict[str, Any]:
    """Measure how frames change as a game goes on; see `track`."""
    return track(subject.make, subject.card, subject.scale(COUNT), seed=subject.seed_of(3))


def findings(result: dict[str, Any]) -> list[Finding]:
    """Return whether a long dream freezes, flickers or loses its light."""
    dream, real = result["dream"], result["real"]
    items, blocks = [], len(dream["change"])
    after = f"after {result['block'] * (blocks - 1):,} frames"
    for measure, calm, wild in (
        ("change", "the dream freezes", "the dream flickers"),
        ("detail", "the dream blurs", "the dream turns noisy"),
        ("brightness", "the dream darkens", "the dream brightens"),
    ):
        usual = float(np.mean(real[measure]))
        spread = max(np.ptp(real[measure]), 0.5 * usual if measure == "change" else 0.2 * usual)
        gap = dream[measure][-1] - usual
        if abs(gap) > spread:
            words = (
                f"{after} {calm if gap < 0 else wild}: {TITLES[measure]} is "
                f"{dream[measure][-1]:.3g}, {usual:.3g} in the real game"
            )
            items.append(Finding("flaw", words, abs(gap) / max(spread, 1e-9)))
    return items or [Finding("merit", f"{after} the picture is as lively as the real one")]


def card_entries(result: dict[str, Any]) -> dict[str, Any]:
    """Return what a world's card says of drift: the difference from the real game's drawing."""
    if "drawn_error" not in result["dream"]:
        return {}
    dream, real = (result[game]["drawn_error"] for game in ("dream", "real"))
    entries = {
        "frames": result["block"] * len(dream),
        "dream": sum(dream) / len(dream),
        "dream_last_tenth": dream[-1],
        "real": sum(real) / len(real),
    }
    return {"picture_error": entries}


def track(
    make: MakeDynamics,
    card: Card,
    frames: int = COUNT,
    rows: int = 4,
    blocks: int = 10,
    seed: int = 3,
) -> dict[str, Any]:
    """Have the scripted policy play on and on, and measure block by block.

    Args:
        make: makes the dynamics.
        card: of the world.
        frames: in each row; an episode has no limit, and one that ends begins anew.
        rows: games side by side.
        blocks: the run is cut into as many.
        seed: of both games and of the policy.

    Returns:
        `block` (its frames), `policy` (who plays, in words) and, for `dream` and `real`, `longest`
        (transitions of the longest episode) and lists over the blocks: `brightness`, `detail`,
        `change` (see `metrics`); if a judge knows the game's rules `illegal_per_1000`; if the
        game's drawing can be compared `drawn_error`, in grey levels (the mean of `Drawings.error`
        over evenly spaced frames).
    """
    size = -(-frames // blocks)
    source_game, tolerance = find_game(card), flicker(bool(card.frames.palette))
    result: dict[str, Any] = {"block": size, "policy": describe_policy(card)}
    for name, game in (("dream", Dream(make(rows), seed)), ("real", Real(card, rows, seed))):
        episodes = roll(game, policies(card, rows, 0.0, seed), frames * rows)
        pieces = _pieces(episodes, rows, size)
        result[name] = {"longest": max(map(len, episodes))}
        for measure in MEASURES:
            values = [measure(episode.frames[a : b + 1]) for episode, _, a, b in pieces]
            result[name][measure.__name__] = _means(pieces, values)
        changes = [metrics.change(e.frames[a : b + 1], tolerance) for e, _, a, b in pieces]
        result[name]["change"] = _means(pieces, changes)
        if source_game is not None and source_game.judge is not None:
            verdicts = {id(e): legality.judge(source_game, e) for e in episodes}
            values = [1000 * (~verdicts[id(e)].legal[a:b]).mean() for e, _, a, b in pieces]
            result[name]["illegal_per_1000"] = _means(pieces, values)
        if source_game is not None and source_game.compare is not None:
            stride = -(-size * rows // JUDGED)
            result[name]["drawn_error"] = drawing_errors(pieces, source_game.compare, stride)
    return result


Piece = tuple[Episode, int, int, int]
"""An episode, a block, and the episode's transitions (first and end) that lie in the block."""


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


def drawing_errors(
    pieces: Sequence[Piece], compare: Callable[[np.ndarray], Drawings], stride: int
) -> list[float]:
    """Compare every `stride`-th frame of each piece with the real drawing, block by block."""
    samples = [episode.frames[first + 1 : end + 1][::stride] for episode, _, first, end in pieces]
    errors = compare(np.concatenate(samples)).error
    borders = np.cumsum([len(frames) for frames in samples])[:-1]
    return _means(pieces, [float(values.mean()) for values in np.split(errors, borders)])


def _means(pieces: Sequence[Piece], values: Sequence[float]) -> list[float]:
    """Return the mean of the pieces' values in each block, weighted by their lengths."""
    blocks = np.array([block for _, block, _, _ in pieces])
    lengths = np.array([end - first for _, _, first, end in pieces])
    totals = np.bincount(blocks, lengths * np.array(values))
    return (totals / np.bincount(blocks, lengths)).tolist()


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
        f"In dream and real game {result['policy']} plays on, without a limit on the episode; one "
        f"that ends begins anew. The longest episodes had {dream['longest']:,} steps (dream) and "
        f"{real['longest']:,} (real).",
        plots=plots,
        table=Table(["after", *(f"{place:,}" for place in places)], rows),
        rungs=[_rung(result)],
    )


def _rung(result: dict[str, Any]) -> Rung:
    """Return the ladder's line: the last block's change over that of the whole real game."""
    usual = float(np.mean(result["real"]["change"]))
    frames = result["block"] * (len(result["dream"]["change"]) - 1)
    cells = [
        f"{result[game]['change'][-1] / usual:.2f}" if usual else "" for game in ("dream", "real")
    ]
    question = f"Is it as lively after {frames:,} frames? (changing pixels, of the game's)"
    return Rung("laws", question, cells[0] or "untested", cells[1], "0.00" if usual else "")
