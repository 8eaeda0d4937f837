"""Judge the ball of a dreamt Pong: is there one, does it fly, and for how long lawfully?

    python .ci/pong.py ale-pong-v0 --denoising-steps 1 2 3
    python .ci/pong.py ale-pong-v0 --denoising-steps 1 2 3 --data runs/ale-pong-v0/data

Sixteen games of the scripted player (a tenth of its actions random), in the dream and in the real
game. A ball is read off each frame; where it hides for up to three frames, as behind the white bar
above, it is the same ball. What it does is unlawful if, away from both paddles, it vanishes, turns
around, or appears elsewhere than in the middle, where it is served; or if it jumps by more than a
sixth of the field.

With a recording, it asks instead what becomes of a ball that the game returned: from the last
frames before either paddle was met in the held-out episodes, or before a ball flew on in the
middle, the dream goes on with the recorded actions, and again and again with other noise.
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
AHEAD, MOMENTS, REPEATS = 4, 64, 4
NEAR = 0.04  # of the field's height and width: the same place


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


def find_turns(world: World, store: EpisodeStore) -> dict[str, list[int]]:
    """Find the last frames before a paddle returned the ball, and some before it flew on."""
    window = world.card.model.window
    found: dict[str, list[int]] = {"other's paddle": [], "own paddle": [], "the middle": []}
    for episode in range(first_held_out(store, HELD_OUT), len(store)):
        first, end = store.offsets[episode : episode + 2]
        columns = np.array([pong.read(frame).ball_column for frame in store.frames[first:end]])
        for at in range(window, end - first - AHEAD):
            before, now, after = columns[at - 1 : at + 2]
            if not (now - before) * (after - now) < 0:  # it flies on, or is hidden
                if 0.45 < now < 0.55:
                    found["the middle"].append(first + at)
            elif not EDGE < now < 1 - EDGE:
                found["own paddle" if now > 0.5 else "other's paddle"].append(first + at)
    return {name: times[:MOMENTS] for name, times in found.items()}


def follow_turns(world: World, store: EpisodeStore, steps: int) -> None:
    """Print in how many dreams the ball that the game has is there, and is where it is."""
    for name, times in find_turns(world, store).items():
        at = np.repeat(times, REPEATS)
        rows, window = np.arange(len(at)), world.card.model.window
        dream = Dynamics(world, len(at), Settings(denoising_steps=steps))
        contexts = [
            (store.frames[t - window + 1 : t + 1], store.actions[t - window + 1 : t]) for t in at
        ]
        dream.reset(rows, rows, contexts)
        results = []
        for k in range(AHEAD):
            dream.step(store.actions[at + k])
            dreamt = np.array([pong.read(frame)[:2] for frame in dream.frames()])
            there = np.array([pong.read(frame)[:2] for frame in store.frames[at + k + 1]])
            shown = ~np.isnan(there[:, 0])
            near = (abs(dreamt - there) < NEAR).all(1)
            results.append((~np.isnan(dreamt[shown, 0])).mean())
            results.append(near[shown].mean())
        shares = ", ".join(
            f"{ball:.2f} ({near:.2f})" for ball, near in zip(*[iter(results)] * 2, strict=True)
        )
        print(f"{steps} steps, {name}, {len(times)} moments: a ball (where it is in the game) in "
              f"{shares} of the dreams after 1 to {AHEAD} frames", flush=True)  # fmt: skip


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
            follow_turns(world, EpisodeStore.open(options.data), steps)
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
