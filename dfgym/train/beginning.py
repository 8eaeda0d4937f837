"""What keeps a training from beginning, said in one line before anything is written or started.

Each of several processes would say it for itself, and the others that they miss it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dfgym.data.layout import identity
from dfgym.data.store import EpisodeStore
from dfgym.data.windows import check_length
from dfgym.errors import ConfigError
from dfgym.train.checkpoint import Origin, check_data, check_settings, read_checkpoint
from dfgym.train.config import TrainConfig, fixed_settings
from dfgym.train.finetune import check_network
from dfgym.train.loss import diffusion_forcing
from dfgym.train.memory import check_memory
from dfgym.train.survey import Survey


def check_new(
    config: TrainConfig,
    game: Survey,
    stores: Sequence[EpisodeStore],
    device: torch.device,
    processes: int,
) -> None:
    """Check that a run can begin.

    Args:
        config: the run.
        game: the survey of its data.
        stores: its data.
        device: where it trains.
        processes: how many share the batch.

    Raises:
        ConfigError: see `check_dials`.
        DataError: no episode is as long as a sequence.
    """
    check_dials(config, game, device, processes)
    check_length(stores, config.length, config.held_out)


def check_dials(config: TrainConfig, game: Survey, device: torch.device, processes: int) -> None:
    """Check what a few frames of the game tell of a run.

    Args:
        config: the run.
        game: the survey of its data.
        device: where it trains.
        processes: how many share the batch.

    Raises:
        ConfigError: the dials do not fit the game, the world to begin with, one another or the
            memory.
    """
    config.model.check_game(game.game_spec)
    check_sequence(config)
    if config.from_world:
        check_network(config)
    check_memory(config, game.game_spec, device, processes)


def check_sequence(config: TrainConfig) -> None:
    """Check that the sequences of a run are longer than what its network sees of the past.

    Raises:
        ConfigError: they are not.
    """
    window = config.model.window
    if config.length <= window:
        raise ConfigError(
            f"length is {config.length} and model.window {window}; expected a length above the "
            f"window, so that no frame counts as the first: set length to {window + 1} or more, "
            "or a smaller model.window"
        )
    if config.length <= config.past:
        raise ConfigError(
            f"length is {config.length} and past {config.past}; expected a length above it, so "
            f"that some frames have their past in the sequence: set length to {config.past + 1} or "
            "more, or a smaller past"
        )


def check_resumed(config: TrainConfig, stores: Sequence[EpisodeStore]) -> None:
    """Check that a run can go on from its checkpoint.

    Raises:
        ConfigError: it was begun with other settings.
        DataError: it was begun with other data, or its checkpoint is damaged.
    """
    saved = read_checkpoint(config.out).origin
    identities = [identity(store.episodes) for store in stores]
    check_settings(
        config.out, saved, Origin(fixed_settings(config), identities, diffusion_forcing.name)
    )
    check_data(config.out, saved, stores)
