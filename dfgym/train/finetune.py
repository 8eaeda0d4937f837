"""Fine-tuning: a training that begins with the weights of a world of the same shape."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from torch import nn

from dfgym.data.store import EpisodeStore
from dfgym.errors import ConfigError
from dfgym.train.config import TrainConfig
from dfgym.train.survey import Survey, survey
from dfgym.world import shelf
from dfgym.world.card import Card

TRAINING = (
    "batch",
    "length",
    "past",
    "noise_share",
    "stop_share",
    "clean_share",
    "end_weight",
    "level_shift",
)
"""What is taken over of how the world was trained."""


def survey_run(config: TrainConfig, stores: Sequence[EpisodeStore]) -> Survey:
    """Look through the training episodes of a run.

    A run that begins with a world's weights keeps its colours and rewards, if the data have no
    others.

    Raises:
        ConfigError: the data are of another shape than the world.
        DataError: there are no data.
    """
    game = survey(stores, config.held_out)
    return adopt(game, shelf.card(config.from_world)) if config.from_world else game


def adopt(game: Survey, card: Card) -> Survey:
    """Return the survey of a game with the colours and rewards of a world's card.

    Raises:
        ConfigError: the frames, the actions, the colours or the rewards do not fit.
    """
    frames = card.frames
    for name, here, there in (
        ("frames", game.frame_shape[:2], (frames.height, frames.width)),
        ("actions", game.actions.network_form, card.game_spec.actions),
        ("palette", bool(game.palette), bool(frames.palette)),
    ):
        if here != there:
            raise ConfigError(
                f"from_world is {card.name!r}, whose {name} are {there}, and those of the data "
                f"are {here}; choose a world of the same shape, or none"
            )
    for name, values, allowed in (
        ("colours", game.palette, frames.palette),
        ("rewards", game.rewards, card.rewards.values),
    ):
        if other := [value for value in values if value not in allowed]:
            raise ConfigError(
                f"from_world is {card.name!r}, which has no {name} like {other[0]}; train on data "
                "of the same game, or without from_world"
            )
    return dataclasses.replace(game, palette=frames.palette, rewards=card.rewards.values)


def take_over(config: TrainConfig) -> TrainConfig:
    """Return a training with the network, the sampler and the levels of the world it begins with.

    Raises:
        WorldError: there is no such world.
    """
    card = shelf.card(config.from_world)
    settings = {name: card.training[name] for name in TRAINING if name in card.training}
    return dataclasses.replace(
        config, **settings, image_steps=0, model=card.model, sampler=card.sampler
    )


def check_network(config: TrainConfig) -> None:
    """Check that a run's network is that of the world that it begins with.

    Its window may be another, since no weight depends on it; and a network without outcomes may be
    given some, whose weights are new.

    Raises:
        ConfigError: it is another.
        WorldError: there is no such world, or its card is broken.
    """
    model = shelf.card(config.from_world).model
    mixture = config.model.mixture if model.mixture == 1 else model.mixture
    if dataclasses.replace(model, window=config.model.window, mixture=mixture) != config.model:
        raise ConfigError(
            f"from_world is {config.from_world!r}, whose model is {model}, and that of the run "
            f"{config.model}; leave the model out"
        )


def load_weights(network: nn.Module, config: TrainConfig) -> None:
    """Put the weights of the world that a run begins with into its network.

    Raises:
        ConfigError: the network is another, see `check_network`.
        WorldError: there is no such world, or it is damaged.
    """
    check_network(config)
    world = shelf.load(config.from_world)
    network.load_state_dict(network.state_dict() | world.weights)  # new outcomes stay as they are
