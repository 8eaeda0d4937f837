"""Composition: players who never meet are recorded; does the dream join what they do (row D15)?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from dfgym.agents.players import make_factory
from dfgym.data.record import Recording, record
from dfgym.data.store import EpisodeStore
from dfgym.evaluation.legality import judge
from dfgym.evaluation.rollout import Dream, Episode, find_game, policies, roll
from dfgym.games.breakout import MOTION, NOOP, PADDLE, BreakoutPolicy
from dfgym.games.minatar import palette, red_table
from dfgym.model.config import ModelConfig
from dfgym.statistics import bootstrap_interval, mean_interval
from dfgym.study import blocks
from dfgym.study.figures import bars
from dfgym.study.methods.objectives import Method
from dfgym.study.runner import StudyRunner, composing, load_trained
from dfgym.study.verdict import Condition, Numbers
from dfgym.study.write import Finding, table
from dfgym.train.config import TrainConfig
from dfgym.train.loop import train
from dfgym.world.bundle import World
from dfgym.world.card import Sampler
from dfgym.world.dynamics import Dynamics
from dfgym.world.settings import Settings

GAMES = ("breakout",)
MODEL, CONTROL, TRAININGS = composing(0), "open", 3
KINDS = ("all", "new", "across")
ROWS, QUICK_ROWS, CONTEXT = 32, 4, 4
STEPS, SPANS = 256, ((1, 16), (17, 32), (33, 128))
"""Frames that each row dreams, and spans of frames since the last real one."""
MEETING = 4
"""The column in which all episodes begin, the only one that both fences hold."""
SIDE, WINDOWS, PATHS, QUICK_PATHS = 7, (1, 3), 256, 8
LEGAL, STITCHED, KEPT = 0.98, (0.4, 0.6), 0.02

_CODE = red_table(palette(4))


def fence(columns: range) -> Callable[[int], Callable[[np.ndarray], int]]:
    """Make the class of a scripted player who keeps the paddle in some columns."""

    class Fenced:
        """A player for recordings, made with the seed of its policy."""

        def __init__(self, seed: int) -> None:
            self.policy = BreakoutPolicy(0.15, seed, 0.5)

        def __call__(self, frame: np.ndarray) -> int:
            action, paddle = self.policy(frame), int(paddles(frame[None])[0])
            return action if paddle + MOTION[action] in columns else NOOP

    return Fenced


Left = fence(range(MEETING + 1))
Right = fence(range(MEETING, 10))
Open = fence(range(10))
"""No fence at all: what the same training makes of one player who goes everywhere."""


class Cross(gym.Env[np.ndarray, Any]):
    """A dot that goes from the left to the right along one of two diagonals, which cross."""

    metadata = {"render_modes": [], "render_fps": 10}  # noqa: RUF012  Gymnasium's form

    def __init__(self) -> None:
        self.observation_space = gym.spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8)
        self.action_space = gym.spaces.Discrete(2)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin in one of the two corners at the left."""
        super().reset(seed=seed)
        self.rises, self.time = bool(self.np_random.integers(2)), 0
        return draw(self.rises, 0), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Go on, whatever the action."""
        self.time += 1
        return draw(self.rises, self.time), 0.0, False, self.time == SIDE - 1, {}


def _is_legal(game: Numbers, span: int, kind: str) -> bool | None:
    numbers = game["spans"][span][kind]
    return bool(numbers["legal"] >= LEGAL) if numbers["transitions"] else None


CONDITIONS = (
    *(
        Condition(
            f"{LEGAL:.0%} of the transitions {words} are legal in frames {first} to {last}",
            partial(_is_legal, span=span, kind=kind),
        )
        for span, (first, last) in enumerate(SPANS)
        for kind, words in (
            ("new", "that neither recording holds"),
            ("across", "in windows that hold both players' halves"),
        )
    ),
    Condition(
        "where two paths cross, a model of one frame's memory goes on along the other one in half "
        "of its dreams",
        lambda game: STITCHED[0] <= game["cross"]["1"]["stitched"] <= STITCHED[1],
    ),
    Condition(
        "and a model of three frames' memory never does",
        lambda game: game["cross"]["3"]["stitched"] <= KEPT,
    ),
)


def measure(runner: StudyRunner, games: Sequence[str]) -> Finding:
    """Dream with worlds of fenced players, and judge what neither has shown."""
    numbers: dict[str, Any] = {}
    rows: list[list[str]] = []
    shares, sentences = {}, []
    quick = runner.scale.horizon < 100
    count, paths, trainings = (QUICK_ROWS, QUICK_PATHS, 1) if quick else (ROWS, PATHS, TRAININGS)
    for game in games:
        worlds = [_examine(runner, game, count, composing(seed)) for seed in range(trainings)]
        numbers[game] = worlds[0] | {"spans": over_trainings([world["spans"] for world in worlds])}
        numbers[game]["control"] = control = _examine(runner, game, count, CONTROL)["spans"]
        numbers[game]["cross"] = cross = {
            str(window): stitched(learn_cross(runner, window), paths) for window in WINDOWS
        }
        for name, spans in (("fenced", numbers[game]["spans"]), ("control", control)):
            rows += _rows(game, name, spans)
        shares[game] = {
            f"{first} to {last}": 1000 * (1 - of_span["across"]["legal"])
            for (first, last), of_span in zip(SPANS, numbers[game]["spans"], strict=True)
        }
        across_halves, across_control = (
            ", ".join(f"{of_span['across']['legal']:.1%}" for of_span in spans)
            for spans in (numbers[game]["spans"], control)
        )
        sentences.append(
            f"{game}: across the players' halves {across_halves} are legal in frames "
            + ", ".join(f"{first} to {last}" for first, last in SPANS)
            + f" ({across_control} in the world of a player without a fence)"
            + "; of paths that "
            "cross "
            + " and ".join(f"{cross[str(w)]['stitched']:.0%} (memory {w})" for w in WINDOWS)
            + " are stitched"
        )
    return Finding(
        "Composition",
        "a model with a short memory composes: it joins parts of what it was trained on to wholes "
        "that nobody has shown.",
        "; ".join(sentences) + ".",
        numbers,
        "Recordings of two scripted players, of whom one keeps the paddle in columns 0 to "
        f"{MEETING} and the other in {MEETING} to 9, so that they meet nowhere but where all "
        "episodes begin. No action sticks there, and one that does in a dream counts as illegal. "
        f"Trained {trainings} times; a player without a fence plays {count} dreams in each world, "
        "a fifth of its actions at random. `control`: a world of as many frames of a player "
        "without a fence, trained once as long and asked the same. `new`: no recording holds the "
        "two frames and the action; `across`: the transition ends a window of frames in which the "
        f"paddle is left and right of column {MEETING}, of which the recordings hold "
        f"{sum(n['recorded_across'] for n in numbers.values())}; their longest episode has "
        f"{max(n['longest'] for n in numbers.values())} frames. Intervals are over trainings, and "
        "over dreams of the control.\n\nPaths that cross: a dot goes along one of two diagonals, "
        "and worlds of one layer see the last frame or the last three. Where the paths "
        "cross, one frame does not show where the dot comes from: half of the dreams should "
        "change over, none with more memory. "
        f"{paths} dreams each.\n\n"
        + table(
            ("game", "world", "frames", "transitions", "number", "legal", "95 % interval"), rows
        ),
        bars(shares, "across both halves, by frames since a real one", "illegal in 1,000"),
    )


def _rows(game: str, world: str, spans: list[dict[str, Any]]) -> Iterator[list[str]]:
    for (first, last), of_span in zip(SPANS, spans, strict=True):
        for kind in KINDS:
            of_kind = of_span[kind]
            low, high = (f"{end:.2%}" for end in of_kind["interval"])
            counted = [f"{first} to {last}", kind, str(of_kind["transitions"])]
            yield [game, world, *counted, f"{of_kind['legal']:.2%}", f"{low} to {high}"]


def _examine(runner: StudyRunner, game: str, rows: int, model: str) -> dict[str, Any]:
    """Play dreams of a model; the share of legal transitions by what recordings hold."""
    world, store = runner.model(game, model).world, runner.data(game, model)
    window = world.card.model.window
    dynamics = Dynamics(world, rows, Settings(device="cpu"))
    dream = Dream(dynamics, begin=partial(blocks.context, num_context=CONTEXT))
    steps, longest = min(STEPS, runner.scale.horizon), SPANS[-1][1]
    players = policies(world.card, rows, epsilon=0.2)
    episodes = roll(dream, players, rows * steps, longest)
    source_game = find_game(world.card)
    assert source_game is not None
    recorded, recorded_across = set[bytes](), 0
    longest_episode = np.diff(store.offsets).max()
    for frames, actions in _recorded(store):
        recorded.update(transitions(frames, actions))
        recorded_across += int(across(paddles(frames), window).sum())
    sums = np.zeros((len(SPANS), len(KINDS), rows, 2))
    for episode in episodes:
        verdicts = judge(source_game, episode)
        legal, age = verdicts.legal & ~verdicts.sticky, 1 + np.arange(len(episode))
        for kind, some in enumerate(_kinds(episode, recorded, window)):
            for span, (first, last) in enumerate(SPANS):
                here = some & (age >= first) & (age <= last)
                sums[span, kind, episode.row] += (legal & here).sum(), here.sum()
    spans = [
        {kind: _summarize(of_kind) for kind, of_kind in zip(KINDS, of_span, strict=True)}
        for of_span in sums
    ]
    return {"spans": spans, "recorded_across": recorded_across, "longest": int(longest_episode)}


def over_trainings(worlds: Sequence[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Join what `_examine` counts of worlds of several trainings; of one it stays as it is."""

    def join(of_worlds: Sequence[dict[str, Any]]) -> dict[str, Any]:
        legal = [of_world["legal"] for of_world in of_worlds]
        low, high = mean_interval(legal) or of_worlds[0]["interval"]
        return {
            "legal": float(np.mean(legal)),
            "interval": (low, min(high, 1.0)),
            "transitions": sum(of_world["transitions"] for of_world in of_worlds),
            "per_training": legal,
        }

    return [
        {kind: join([of_span[kind] for of_span in spans]) for kind in KINDS}
        for spans in zip(*worlds, strict=True)
    ]


def _kinds(episode: Episode, recorded: set[bytes], window: int) -> Iterator[np.ndarray]:
    yield np.ones(len(episode), bool)
    keys = transitions(episode.frames, episode.actions)
    yield np.array([key not in recorded for key in keys])
    yield across(paddles(episode.frames), window)


def _recorded(store: EpisodeStore) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for first, end in pairwise(store.offsets):
        yield store.frames[first:end], store.actions[first : end - 1]


def transitions(frames: np.ndarray, actions: np.ndarray) -> list[bytes]:
    """Return what tells each transition of an episode from others: two frames and an action."""
    cells = [frame.tobytes() for frame in _CODE[frames[..., 0]]]
    acts = actions.astype(np.uint8)
    return [cells[i] + acts[i].tobytes() + cells[i + 1] for i in range(len(acts))]


def paddles(frames: np.ndarray) -> np.ndarray:
    """Return the paddle's column in frames of Breakout `(t, 10, 10, 3)`; int64 `(t,)`."""
    return np.asarray((_CODE[frames[:, -1, :, 0]] == PADDLE).argmax(1))


def across(columns: np.ndarray, window: int) -> np.ndarray:
    """Say of transitions whether the window at whose end they are holds both halves.

    Args:
        columns: int `(t,)`, the paddle's in each frame of an episode.
        window: of how many frames before the new one.

    Returns:
        bool `(t - 1,)`.
    """
    recent = [columns[max(0, end - window) : end + 1] for end in range(1, len(columns))]
    return np.array([(c < MEETING).any() and (c > MEETING).any() for c in recent], bool)


def _summarize(sums: np.ndarray) -> dict[str, Any]:
    """Return the share of legal transitions of counts `(rows, 2)`, and its interval."""

    def share(counts: np.ndarray) -> np.ndarray:
        return np.asarray(counts[..., 0].sum(-1) / np.maximum(counts[..., 1].sum(-1), 1))

    return {
        "legal": float(share(sums)),
        "interval": bootstrap_interval(sums, share),
        "transitions": int(sums[:, 1].sum()),
    }


def draw(rises: bool, time: int) -> np.ndarray:
    """Draw the dot of a cross, uint8 `(SIDE, SIDE, 3)`."""
    frame = np.zeros((SIDE, SIDE, 3), np.uint8)
    frame[SIDE - 1 - time if rises else time, time] = 255
    return frame


def learn_cross(runner: StudyRunner, window: int) -> World:
    """Learn the two paths with one layer, which sees so many frames and no more."""
    folder, quick = runner.folder / "cross", runner.scale.horizon < 100
    recording = Recording("dfgym.study.composition:Cross", 300 if quick else 2000)
    record(recording, folder / "data", make_factory, env=Cross)
    model = ModelConfig(
        kind="transformer", dim=32, depth=1, heads=2, patch=SIDE, window=window, mixture=2
    )
    out, steps = folder / f"window-{window}", 8 if quick else 600
    config = toy_config(folder / "data", out, steps, SIDE, model)
    train(config)
    return load_trained(config, Method()).world


def toy_config(data: Path, out: Path, steps: int, length: int, model: ModelConfig) -> TrainConfig:
    """Return how a toy whose frames are one token is trained, on sequences of a length."""
    return TrainConfig(
        data=(data,),
        out=out,
        steps=steps,
        image_steps=0,
        batch=16,
        length=length,
        noise_share=0.5,
        clean_share=1.0,
        device="cpu",
        precision="float32",
        strip_every=0,
        model=model,
        sampler=Sampler(1, 1.0, context_mode="clean", context_noise=0.0),
    )


def stitched(world: World, paths: int) -> dict[str, Any]:
    """Dream paths from their first frame; the shares that change over, and that are lost."""
    dynamics = Dynamics(world, paths, Settings(device="cpu"))
    rises = np.arange(paths) % 2 == 1
    starts = [(draw(bool(up), 0)[None], np.zeros(0, np.int64)) for up in rises]
    dynamics.reset(np.arange(paths), np.arange(paths), starts)
    for _ in range(SIDE - 1):
        frames = dynamics.step(np.zeros(paths, np.int64)).frames
    ends = np.stack([draw(up, SIDE - 1) for up in (False, True)])
    straight, changed = (
        (frames == ends[side.astype(int)]).all((1, 2, 3)) for side in (rises, ~rises)
    )
    shares = {"stitched": changed, "lost": ~straight & ~changed}
    return {name: float(values.mean()) for name, values in shares.items()} | {
        "interval": bootstrap_interval(changed.astype(float), lambda s: s.mean(-1))
    }
