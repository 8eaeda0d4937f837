"""Rounds: the next one begins with the weights of the last, on its data and the agent's."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from dfgym import rounds
from dfgym.data.store import EpisodeStore
from dfgym.errors import ConfigError
from dfgym.train import loop
from dfgym.train.checkpoint import read_checkpoint
from dfgym.train.config import TrainConfig
from dfgym.train.pack import Presentation
from dfgym.world import bundle
from toys import walk as toy_walk
from toys.walk import tiny

RECORD_AGAIN = rounds.record_again  # which the tests of whole rounds replace


@pytest.fixture
def first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    """A training whose processes are this one, and whose agents walk at random."""

    def record(draft: Path, out: Path, train: TrainConfig, minutes: float) -> Path:
        assert (draft / "world.toml").is_file() and minutes > 0
        return toy_walk.record(out, episodes=20, seed=int(out.name[-1]))

    monkeypatch.setattr(rounds, "launch", lambda config, processes: loop.train(config))
    monkeypatch.setattr(rounds, "record_again", record)
    data = toy_walk.record(tmp_path / "data", episodes=30)
    return tiny(data, tmp_path / "train", steps=0, minutes=0.03)


def test_a_round_goes_on_from_the_last_one(first: TrainConfig, tmp_path: Path) -> None:
    world = bundle.load(rounds.train_rounds(first, "toy-walk-v0", Presentation(), 3, 1))
    runs = [tmp_path / name for name in ("train", "train-2", "train-3")]
    saved = [read_checkpoint(run) for run in runs]
    assert [len(s.origin.data) for s in saved] == [1, 2, 3]
    drafts = [s.origin.settings["from_world"] for s in saved]
    assert drafts == ["", *(str(tmp_path / f / "toy-walk-v0") for f in ("world", "world-2"))]
    assert world.path == tmp_path / "world-3" / "toy-walk-v0"
    share = 60 * 0.03 * (1 - rounds.AGENT_SHARE) / 3
    assert all(s.seconds >= 0.99 * share for s in saved)


def test_the_second_recording_is_played_as_the_first_was(
    first: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[str] = []
    monkeypatch.setattr(rounds, "run_together", lambda words, *_: commands.append(" ".join(words)))
    meta = {**toy_walk.META, "max_episode_steps": 77}
    store = EpisodeStore.open(first.data[0])
    monkeypatch.setattr(store, "meta", meta)
    monkeypatch.setattr(EpisodeStore, "open", lambda path: store)
    train = dataclasses.replace(first, device="cpu")
    RECORD_AGAIN(tmp_path / "toy-walk-v0", tmp_path / "data-2", train, 1.0)
    training, recording = commands
    assert "dfgym.agents.ppo" in training and training.endswith("--device cpu")
    assert "dfgym.cli record DFReal/toy-walk-v0" in recording
    assert "--max-episode-steps 77" in recording


def test_data_with_something_new_let_the_network_begin_anew(
    first: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draft = rounds.train_rounds(first, "toy-walk-v0", Presentation(), 1, 1)
    store = EpisodeStore.open(first.data[0])
    with EpisodeStore.create(tmp_path / "other", toy_walk.META) as other:
        for seed in range(2):
            rows = slice(0, store.episodes[0].frames)
            steps = slice(0, rows.stop - 1)
            other.append(
                store.frames[rows], store.actions[steps], store.rewards[steps] + 7, True, False,
                seed=seed, policy="random",
            )  # fmt: skip
    both = dataclasses.replace(first, data=(*first.data, other.path))
    assert rounds._go_on(both, draft) == both
    assert (
        "the network begins anew: from_world is 'toy-walk-v0', which has no rewards"
        in capsys.readouterr().out
    )
    assert rounds._go_on(first, draft).from_world == str(draft)


def test_rounds_need_a_time_to_share(first: TrainConfig) -> None:
    with pytest.raises(ConfigError, match="rounds is 0; expected 1 or more"):
        rounds.train_rounds(first, "toy-walk-v0", Presentation(), 0, 1)
    steps = dataclasses.replace(first, steps=3, minutes=0.0)
    with pytest.raises(ConfigError, match="give it minutes to share"):
        rounds.train_rounds(steps, "toy-walk-v0", Presentation(), 2, 1)
