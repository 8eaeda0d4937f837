"""The measures, each against a case whose answer is known, and the whole measurement at the end."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dfgym.bench import speed
from dfgym.errors import ConfigError, MissingPackageError, WorldError
from dfgym.evaluation import fidelity, legality, moments, transfer
from dfgym.evaluation.drift import drift
from dfgym.evaluation.moments import Moment
from dfgym.evaluation.rollout import Dream, Episode, Real, policies, roll
from dfgym.evaluation.run import evaluate
from dfgym.games import RandomPolicy
from dfgym.games.minatar import MinAtarEnv
from dfgym.model import Transformer
from dfgym.world.bundle import Starts
from dfgym.world.card import Card, Frames, Source
from dfgym.world.dynamics import Transition
from dfgym.world.settings import Settings
from toys.html import external_requests
from toys.world import toy_card


@pytest.fixture(scope="module")
def card() -> Card:
    """MinAtar Breakout's, as far as evaluation reads it."""
    palette = tuple(tuple(map(int, colour)) for colour in MinAtarEnv().palette)
    return toy_card(
        name="minatar-breakout-v0",
        frames=Frames(10, 10, 4, 10, palette),
        source=Source("DFSource/MinAtar-Breakout-v0", {}, {}, "minatar", "GPL-3.0"),
    )


class FakeDynamics:
    """Has the signature of `Dynamics`: shows its context's last frame for ever, and never ends."""

    def __init__(self, card: Card, num_rows: int) -> None:
        first = MinAtarEnv().reset(seed=0)[0][None]
        starts = Starts(first, np.zeros(1, np.int64), np.array([0, 1]), np.zeros(1, np.int64))
        self.world = SimpleNamespace(card=card, starts=starts)
        self.num_rows = num_rows
        self.shown = np.zeros((num_rows, 10, 10, 3), np.uint8)

    def reset(self, rows, seeds, contexts) -> None:
        for row, seed, (frames, actions) in zip(rows, seeds, contexts, strict=True):
            assert 0 < len(frames) == len(actions) + 1 <= self.world.card.model.window
            self.shown[row] = frames[-1]
            self.begin(row, int(seed))

    def begin(self, row: int, seed: int) -> None:
        """Nothing to begin."""

    def frames(self) -> np.ndarray:
        return self.shown.copy()

    def step(self, actions: np.ndarray) -> Transition:
        zero = np.zeros(self.num_rows)
        return Transition(self.frames(), zero, zero > 0, zero + 0.25, zero)


class PerfectDynamics(FakeDynamics):
    """A dream without fault: the real game itself, from the game's own start."""

    def __init__(self, card: Card, num_rows: int) -> None:
        super().__init__(card, num_rows)
        self.games = [MinAtarEnv() for _ in range(num_rows)]

    def begin(self, row: int, seed: int) -> None:
        self.shown[row] = self.games[row].reset(seed=seed % 2**32)[0]

    def step(self, actions: np.ndarray) -> Transition:
        rewards, ended = np.zeros(self.num_rows), np.zeros(self.num_rows, bool)
        for row, game in enumerate(self.games):
            self.shown[row], rewards[row], ended[row], _, _ = game.step(int(actions[row]))
        return Transition(self.frames(), rewards, ended, ended * 1.0, rewards)


# Rolling


def test_roll_cuts_at_the_limit_and_counts(card: Card):
    dynamics = PerfectDynamics(card, 3)
    episodes = roll(Dream(dynamics), [RandomPolicy(3, i) for i in range(3)], 250, max_steps=40)
    per_row = [sum(len(e) for e in episodes if e.row == row) for row in range(3)]
    assert per_row == [84, 84, 84]
    assert max(map(len, episodes)) <= 40
    for episode in episodes:
        assert not episode.terminated[:-1].any()
        assert len(episode.frames) == len(episode) + 1
        assert (episode.frames[0][3] == dynamics.games[0].palette[4]).all()  # whole bricks: a start


def test_perfect_dream_is_lawful_and_a_frozen_one_is_not(card: Card):
    perfect = legality.measure(Dream(PerfectDynamics(card, 8)), card, 4000)
    assert (perfect.transitions, perfect.illegal, perfect.wrong) == (4000, 0, 0)
    assert 0.02 < perfect.sticky_share < 0.07
    real = legality.measure(Real(card, 8, seed=1), card, 4000)
    assert (real.illegal, real.wrong) == (0, 0)
    frozen = legality.measure(Dream(FakeDynamics(card, 2)), card, 400)
    assert frozen.illegal_per_1000 > 250  # the lost ball may be under the bricks for a while


def test_real_rows_replay_from_their_seeds(card: Card):
    one, two = (
        roll(Real(card, 2, seed=4), policies(card, 2, 0.2, seed=5), 200, max_steps=50)
        for _ in range(2)
    )
    assert len(one) == len(two) > 2
    assert all(np.array_equal(a.frames, b.frames) for a, b in zip(one, two, strict=True))
    assert len({e.frames.tobytes() for e in one}) == len(one)


def test_players_fall_back_to_chance():
    assert isinstance(policies(toy_card(), 1, 0.1)[0], RandomPolicy)  # Breakout, but 8 x 8


def test_missing_game_is_said_first(tmp_path: Path, random_world: Path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("minatar")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "minatar", None)
    with pytest.raises(MissingPackageError, match=r"dfgym\[minatar\]"):
        evaluate(random_world, tmp_path / "out", quick=True)
    assert not (tmp_path / "out").exists()


# Moments, fidelity, drift


def test_moment_holds_its_end_and_knows_a_cut():
    frames = np.arange(5 * 12, dtype=np.uint8).reshape(5, 2, 2, 3)
    ends = np.array([False, False, False, True])
    episode = Episode(frames, np.arange(4), np.zeros(4), ends, 0, 0)
    after, actions, known = Moment(episode, 2).after(6)
    assert np.array_equal(after, frames[[2, 3, 4, 4, 4, 4, 4]])
    assert actions.tolist() == [2, 3, 0, 0, 0, 0] and known == 6
    cut = Episode(frames, np.arange(4), np.zeros(4), ends & False, 0, 0)
    assert Moment(cut, 2).after(6)[2] == 2
    past, led = Moment(episode, 3).context(3)
    assert np.array_equal(past, frames[1:4]) and led.tolist() == [1, 2]


def test_twin_has_the_same_past_and_another_future(card: Card):
    chosen = moments.draw(card, 20, 0.1, seed=0)
    source = Real(card, 1)._sources[0]
    differ = 0
    for moment in chosen:
        future, actions, _ = moment.after(100)
        twin = moments.twin(source, moment, actions, seed=1)
        assert np.array_equal(twin.frames[0], future[0])
        differ += not np.array_equal(moments.hold(twin.frames, 100), future)
    assert differ > 15


def test_a_dream_that_copies_scores_as_the_copy_does(card: Card):
    found = fidelity.horizon(lambda n: FakeDynamics(card, n), card, 8, (1, 4, 16))
    assert found["horizons"] == [1, 4, 16] and found["moments"][0] == 8
    assert found["dream"] == found["copy"]
    assert found["real"]["exact"][0] > 0.7 and found["real"]["psnr"][0] > found["copy"]["psnr"][0]
    single = fidelity.next_frame(lambda n: FakeDynamics(card, n), card, 300)
    dream, copy = single["dream"], single["copy"]
    assert all(dream[key] == copy[key] for key in copy)
    assert dream["shuffled"] == {key: copy[key] for key in ("psnr", "ssim", "exact")}
    assert copy["reward"]["recall"] == 0 and copy["reward"]["events"] > 5
    rate = copy["termination"]["events"] / 300
    assert dream["calibration"]["ece"] == pytest.approx(0.25 - rate)
    assert single["real"]["exact"] > 0.9 and single["real"]["reward"]["f1"] == 1


def test_shuffled_actions_worsen_a_dream_that_listens(card: Card):
    """It moves the paddle as told and does nothing else, which is right while the ball hides."""

    class Listens(FakeDynamics):
        def step(self, actions: np.ndarray) -> Transition:
            for frame, action in zip(self.shown, actions, strict=True):
                row = np.roll(frame[9], (0, -1, 1)[action], axis=0)
                frame[9] = row
            return super().step(actions)

    found = fidelity.next_frame(lambda n: Listens(card, n), card, 200)["dream"]
    assert found["psnr"] > found["shuffled"]["psnr"] + 0.2


def test_drift_of_the_real_game_is_none(card: Card):
    found = drift(lambda n: PerfectDynamics(card, n), card, frames=400, rows=2, blocks=4)
    assert found["block"] == 100
    for name in ("dream", "real"):
        assert found[name]["illegal_per_1000"] == [0.0] * 4
        assert all(0.01 < value < 0.08 for value in found[name]["change"])
    frozen = drift(lambda n: FakeDynamics(card, n), card, frames=100, rows=1, blocks=2)["dream"]
    assert frozen["change"] == [0.0, 0.0] and frozen["longest"] == 100


# Speed


def test_bench_counts_and_leaves_the_network_alone(random_world: Path):
    step = Transformer.step
    found = speed.bench(random_world, 0.2, Settings("cpu"))
    assert Transformer.step is step
    assert found["single_p50_ms"] <= found["single_p95_ms"]
    assert found["single_steps_per_second"] < found["vector_frames_per_second"]
    assert 0 < found["outside_network"] < 1


# Transfer


@pytest.fixture
def agents(monkeypatch, random_world: Path) -> list[str]:
    """Stands in for training and scoring; lists what was trained."""
    from dfgym.agents import evaluate as scoring
    from dfgym.agents import ppo

    trained: list[str] = []

    def train(config) -> Path:
        trained.append(f"{config.env} {config.seed} {config.steps}")
        return config.out / "agent.zip"

    def score(agent, env, episodes, seed):
        dream, at_home = env.startswith("DFWorld"), "dream" in agent
        mean = 1.0 if agent == "random" else 9.0 + at_home * (1 + dream)
        return SimpleNamespace(to_dict=lambda: {"mean": mean, "seed": seed})

    monkeypatch.setattr(ppo, "train", train)
    monkeypatch.setattr(scoring, "evaluate", score)
    monkeypatch.setenv("DFGYM_WORLDS", str(random_world.parent))
    return trained


def test_transfer_goes_on_where_it_stopped(tmp_path: Path, agents: list[str]):
    assert transfer.summary(tmp_path) is None
    base = {"world": "toy-random-v0", "out": tmp_path, "steps": 10, "episodes": 2}
    found = transfer.transfer(transfer.Config(**base, sides=("dream",), seeds=(0,)))
    assert agents == ["DFWorld/toy-random-v0 0 10"] and "ratio" not in found
    found = transfer.transfer(transfer.Config(**base, seeds=(0, 1)))
    assert agents[1:] == [
        "DFReal/toy-random-v0 0 10",
        "DFWorld/toy-random-v0 1 10",
        "DFReal/toy-random-v0 1 10",
    ]
    assert transfer.transfer(transfer.Config(**base, seeds=(0, 1))) == found and len(agents) == 4
    scores = {"mean": 10.0, "interval": [10.0, 10.0], "per_seed": [10.0, 10.0]}
    assert found["dream"]["in_real"] == scores
    assert found["ratio"] == pytest.approx(10 / 9)
    assert found["ratio_interval"] == pytest.approx([10 / 9, 10 / 9])
    assert found["dream_over_real_return"] == pytest.approx(1.1)
    assert found["random"]["real"]["mean"] == 1.0


def test_transfer_refuses_to_mix_settings(tmp_path: Path, agents: list[str]):
    transfer.transfer(transfer.Config("toy-random-v0", tmp_path, seeds=(0,), steps=10))
    with pytest.raises(ConfigError, match="`steps` is 11; expected 10"):
        transfer.transfer(transfer.Config("toy-random-v0", tmp_path, seeds=(0,), steps=11))
    with pytest.raises(ConfigError, match="steps is 0; expected int >= 1"):
        transfer.transfer(transfer.Config("toy-random-v0", tmp_path, steps=0))
    with pytest.raises(WorldError):
        transfer.transfer(transfer.Config("no-such-world-v0", tmp_path))
    assert len(agents) == 2


# All of it


def test_evaluate_writes_one_page_that_needs_nothing_else(tmp_path: Path, random_world: Path):
    found = evaluate(random_world, tmp_path, quick=True, settings=Settings("cpu", 1))
    assert json.loads((tmp_path / "evaluation.json").read_text()) == found
    assert found["settings"]["denoising_steps"] == 1
    assert "legal transitions" in found["absent"] and "legality" not in found  # frames of 8 x 8
    assert "transfer" in found["absent"]
    html = (tmp_path / "evaluation.html").read_text()
    assert not external_requests(html) and html.count("<svg") >= 6
    assert "no judge knows the rules" in html and "A quick look" in html
    assert (tmp_path / "dream.gif").read_bytes()[:6] == b"GIF89a"
