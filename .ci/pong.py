"""Judge the ball of a dreamt Pong: is there one, does it fly, and for how long lawfully?

    python .ci/pong.py ale-pong-v0 --denoising-steps 1 2 3
    python .ci/pong.py ale-pong-v0 --denoising-steps 1 2 3 --data runs/ale-pong-v0/data

Sixteen games of the scripted player (a tenth of its actions random), in the dream and in the real
game. A ball is read off each frame; where it hides for up to three frames, as behind the white bar
above, it is the same ball. What it does is unlawful if, away from both paddles, it vanishes, turns
around, or appears elsewhere than in the middle, where it is served; or if it jumps by more than a
sixth of the field.

With a recording, it asks instead what becomes of a ball that comes near to a paddle: from these
moments of the held-out episodes the dream goes on with the recorded actions, and what it shows is
compared with how often the game returned the ball.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import numpy as np

from dfgym.data.store import EpisodeStore
from dfgym.data.windows import first_held_out
from dfgym.evaluation.rollout import Dream, Real, Rows
from dfgym.games import pong
from dfgym.world import shelf
from dfgym.world.bundle import World
from dfgym.world.dynamics import Dynamics
from dfgym.world.settings import Settings

ROWS, STEPS = 16, 300
SERVE = (0.4, 0.6)  # the columns where a ball is served
EDGE = 0.24  # columns so near to a side belong to a paddle, as shares of the width
JUMP, HIDDEN = 1 / 6, 3
HELD_OUT = 0.05  # the last share of the episodes, as in training
AHEAD, REPEATS = 10, 2


class Count(NamedTuple):
    """What the ball did, over all games."""

    frames: int
    with_ball: int
    crossings: int
    vanished: int
    turned: int
    appeared: int
    jumped: int
    points: int


def play(rows: Rows) -> tuple[np.ndarray, int]:
    """Play; returns where the ball is, row and column `(STEPS, ROWS, 2)`, and the points."""
    players = [pong.PongPolicy(0.1, seed) for seed in range(ROWS)]
    rows.reset(np.arange(ROWS))
    places, points = [], 0
    for _ in range(STEPS):
        frames = rows.frames()
        positions = [pong.read(frame) for frame in frames]
        places.append([(p.ball_row, p.ball_column) for p in positions])
        actions = [player(frame) for player, frame in zip(players, frames, strict=True)]
        step = rows.step(np.array(actions))
        points += int(np.abs(step.rewards).sum())
        if len(over := np.flatnonzero(step.terminated)):
            rows.reset(over)
    return np.array(places), points


def judge(places: np.ndarray, points: int) -> Count:
    """Count what the balls of all games did."""
    crossings = vanished = turned = appeared = jumped = 0
    for game in places.transpose(1, 0, 2):
        times = np.flatnonzero(~np.isnan(game[:, 0]))
        for k, time in enumerate(times):
            row, column = game[time]
            inside = EDGE < column < 1 - EDGE
            if k and time - times[k - 1] > HIDDEN:
                appeared += inside and not SERVE[0] < column < SERVE[1]
            following = times[k + 1] if k + 1 < len(times) else len(game)
            if following - time > HIDDEN:
                vanished += inside and time + HIDDEN < len(game)
                continue
            if following == len(game):
                continue
            ahead = game[following]
            if max(abs(ahead[0] - row), abs(ahead[1] - column)) > JUMP:
                jumped += 1
                continue
            crossings += (column < 0.5) != (ahead[1] < 0.5)
            if k and time - times[k - 1] <= HIDDEN:
                back = column - game[times[k - 1]][1]
                turned += inside and back * (ahead[1] - column) < -((1 / 64) ** 2)
    shows = ~np.isnan(places[..., 0])
    return Count(
        shows.size, int(shows.sum()), crossings, vanished, turned, appeared, jumped, points
    )


def find_arrivals(world: World, store: EpisodeStore) -> dict[str, list[int]]:
    """Find the frames in which a ball comes near to a paddle, whatever becomes of it then."""
    window = world.card.model.window
    times: dict[str, list[int]] = {"the other's paddle": [], "the own paddle": []}
    for episode in range(first_held_out(store, HELD_OUT), len(store)):
        first, end = store.offsets[episode : episode + 2]
        columns = np.array([pong.read(frame).ball_column for frame in store.frames[first:end]])
        for at in range(window, end - first - AHEAD):
            before, now = columns[at - 1 : at + 1]
            if now < EDGE <= before:
                times["the other's paddle"].append(first + at)
            if before <= 1 - EDGE < now:
                times["the own paddle"].append(first + at)
    return times


def follow_arrivals(world: World, store: EpisodeStore, steps: int) -> None:
    """Print how often a ball is there, and how often it has come back, in game and dream."""
    for name, times in find_arrivals(world, store).items():
        at, window = np.repeat(times, REPEATS), world.card.model.window
        rows, begins = np.arange(len(at)), at - window + 1
        dream = Dynamics(world, len(at), Settings(denoising_steps=steps))
        pasts = zip(begins, at, strict=True)
        contexts = [(store.frames[a : t + 1], store.actions[a:t]) for a, t in pasts]
        dream.reset(rows, rows, contexts)
        columns = np.empty((2, AHEAD, len(at)))
        for k in range(AHEAD):
            dream.step(store.actions[at + k])
            for row, frames in enumerate((store.frames[at + k + 1], dream.frames())):
                columns[row, k] = [pong.read(frame).ball_column for frame in frames]
        shows, inside = ~np.isnan(columns), (columns > EDGE) & (columns < 1 - EDGE)
        here = "; ".join(
            f"{where}: a ball in {' '.join(f'{share:.2f}' for share in ball.mean(1))} after 1 to "
            f"{AHEAD} frames, back in the middle by then in {back.any(0).mean():.2f}"
            for where, ball, back in zip(("game", "dream"), shows, inside, strict=True)
        )
        print(f"{steps} steps, near {name}, {len(times)} balls; {here}", flush=True)


def main() -> None:
    """Print a line for the real game and for each number of denoising steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("world")
    parser.add_argument("--denoising-steps", type=int, nargs="*", default=[3])
    parser.add_argument("--data", help="a recording of the game")
    options = parser.parse_args()
    world = shelf.load(options.world)
    if options.data:
        for steps in options.denoising_steps:
            follow_arrivals(world, EpisodeStore.open(options.data), steps)
        return
    games: dict[str, Rows] = {"real": Real(world.card, ROWS, seed=3)}
    for steps in options.denoising_steps:
        dynamics = Dynamics(world, ROWS, Settings(denoising_steps=steps))
        games[f"dream, {steps} steps"] = Dream(dynamics, seed=3)
    share = None
    for name, rows in games.items():
        count = judge(*play(rows))
        here = count.with_ball / count.frames
        share = share or here
        unlawful = count.vanished + count.turned + count.appeared + count.jumped
        print(
            f"{name}: a ball in {here:.1%} of {count.frames:,} frames ({here / share:.2f} of the "
            f"real share), {1000 * count.crossings / count.frames:.1f} crossings and "
            f"{1000 * count.points / count.frames:.1f} points in 1,000 frames; vanished "
            f"{count.vanished}, turned {count.turned}, appeared {count.appeared}, jumped "
            f"{count.jumped}: "
            f"{count.with_ball / max(unlawful, 1):.0f} frames with a ball for each"
        )


if __name__ == "__main__":
    main()
