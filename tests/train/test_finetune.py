"""A training that begins with a world's weights: the same network, or a refusal."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from dfgym.actions import discrete
from dfgym.errors import ConfigError, WorldError
from dfgym.train.checkpoint import read_checkpoint
from dfgym.train.finetune import adopt, take_over
from dfgym.train.loop import train
from dfgym.train.pack import pack
from dfgym.train.survey import Survey
from dfgym.world import bundle
from toys import walk as toy_walk
from toys.walk import tiny
from toys.world import PALETTE, toy_card


@pytest.fixture(scope="module")
def walks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_walk.record(tmp_path_factory.mktemp("data") / "walk", episodes=30)


@pytest.fixture(scope="module")
def world(walks: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    run = train(tiny(walks, folder / "run", noise_share=0.4, end_weight=2.0, past=2))
    return pack(run, folder / "toy-walk-v0", "toy-walk-v0")


def test_it_begins_with_the_weights_of_the_world(walks: Path, world: Path, tmp_path: Path) -> None:
    config = tiny(walks, tmp_path / "run", from_world=str(world), steps=1, image_steps=0)
    train(dataclasses.replace(config, learning_rate=0.0, muon_rate=0.0))
    saved = read_checkpoint(config.out)
    weights = bundle.load(world).weights
    assert weights
    for name, value in weights.items():
        assert torch.equal(saved.tensors[f"network.{name}"], value)
        assert torch.equal(saved.tensors[f"average.module.{name}"], value)
    packed = bundle.load(pack(config.out, tmp_path / "toy-walk-v1", "toy-walk-v1"))
    assert packed.card.training["from_world"] == str(world)
    assert all(torch.equal(packed.weights[name], weights[name]) for name in weights)


def test_the_network_and_the_levels_are_the_worlds(walks: Path, world: Path) -> None:
    config = take_over(tiny(walks, Path("run"), from_world=str(world), batch=7, image_steps=9))
    card = bundle.load(world).card
    assert (config.model, config.sampler) == (card.model, card.sampler)
    assert (config.noise_share, config.batch, config.image_steps) == (0.4, 4, 0)
    assert (config.end_weight, config.past) == (2, 2)


def test_colours_and_rewards_are_the_worlds_if_the_data_have_no_others() -> None:
    card = toy_card()
    game = Survey((8, 8, 3), discrete(3), PALETTE[:2], (0.0,))
    assert adopt(game, card) == Survey((8, 8, 3), discrete(3), PALETTE, (0.0, 1.0))
    for change, message in (
        ({"frame_shape": (8, 10, 3)}, r"frames are \(8, 8\), .* are \(8, 10\)"),
        ({"actions": discrete(4)}, "actions are"),
        ({"palette": ()}, "palette are True"),
        ({"palette": ((1, 2, 3), (0, 0, 0))}, r"no colours like \(1, 2, 3\)"),
        ({"rewards": (0.0, 5.0)}, "no rewards like 5.0"),
    ):
        with pytest.raises(ConfigError, match=message):
            adopt(dataclasses.replace(game, **change), card)


def test_a_longer_window_may_be_learned(walks: Path, world: Path, tmp_path: Path) -> None:
    config = tiny(walks, tmp_path / "run", from_world=str(world), steps=1, image_steps=0)
    longer = dataclasses.replace(config.model, window=config.model.window + 2)
    run = train(dataclasses.replace(config, model=longer, length=longer.window + 1))
    packed = bundle.load(pack(run, tmp_path / "toy-walk-v1", "toy-walk-v1"))
    assert packed.card.model == longer


def test_a_network_may_be_given_outcomes_but_not_fewer(
    walks: Path, world: Path, tmp_path: Path
) -> None:
    config = tiny(walks, tmp_path / "run", from_world=str(world), steps=1, image_steps=0)
    several = dataclasses.replace(config.model, mixture=3)
    still = dataclasses.replace(config, model=several, learning_rate=0.0, muon_rate=0.0)
    packed = pack(train(still), tmp_path / "toy-walk-v1", "toy-walk-v1")
    weights, before = bundle.load(packed).weights, bundle.load(world).weights
    assert all(torch.equal(weights[name], before[name]) for name in before)
    new = {name.partition(".")[0] for name in weights.keys() - before.keys()}
    assert new == {"out_mixture", "mixture_logits"}
    two = dataclasses.replace(still, out=tmp_path / "two", from_world=str(packed))
    for fewer in (1, 2):
        with pytest.raises(ConfigError, match=r"whose model is .*mixture=3"):
            train(dataclasses.replace(two, model=dataclasses.replace(several, mixture=fewer)))


def test_another_network_and_no_world_are_refused(walks: Path, world: Path, tmp_path: Path) -> None:
    config = tiny(walks, tmp_path / "run", from_world=str(world))
    larger = dataclasses.replace(config, model=dataclasses.replace(config.model, depth=2))
    with pytest.raises(ConfigError, match=r"whose model is .*depth=1.* leave the model out"):
        train(larger)
    with pytest.raises(WorldError):
        train(dataclasses.replace(config, from_world="nothing-v0"))
