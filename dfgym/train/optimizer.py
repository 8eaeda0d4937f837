"""The optimisers: Muon and AdamW, a rate that rises, stays and falls, and a moving average."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dfgym.errors import MissingPackageError
from dfgym.train.config import TrainConfig
from dfgym.train.schedule import Progress


def make_optimizers(network: nn.Module, config: TrainConfig) -> list[Optimizer]:
    """Return the optimisers of a run, over disjoint parameters.

    Muon (Jordan 2024; torch's own) turns each update of a block's matrix into the nearest
    orthogonal one. Biases, gains and embeddings are AdamW's and not decayed.

    Raises:
        MissingPackageError: this torch is older than 2.9 and has no Muon.
    """
    if config.optimizer == "muon" and not hasattr(torch.optim, "Muon"):
        raise MissingPackageError(
            f"torch {torch.__version__} has no Muon; install torch>=2.9 or train with "
            "--optimizer adamw"
        )
    matrices: list[Tensor] = []
    decayed: list[Tensor] = []
    others: list[Tensor] = []
    for name, parameter in network.named_parameters():
        if parameter.dim() != 2 or "embed" in name:
            others.append(parameter)
        elif config.optimizer == "muon" and "blocks." in name:
            matrices.append(parameter)
        else:
            decayed.append(parameter)
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    optimizers: list[Optimizer] = [AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.95))]
    if matrices:
        optimizers.append(
            torch.optim.Muon(
                matrices,
                lr=config.muon_rate,
                weight_decay=config.weight_decay,
                adjust_lr_fn="match_rms_adamw",
            )
        )
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return optimizers


def set_rates(optimizers: list[Optimizer], config: TrainConfig, progress: Progress) -> float:
    """Set the rates of a step (warm-up, plateau, cool-down); return the share of the peak."""
    share = min(
        1.0,
        progress.end / config.warmup if config.warmup else 1.0,
        (1 - progress.begin) / config.cooldown if config.cooldown else 1.0,
    )
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * share
    return share


def make_average(network: nn.Module, config: TrainConfig) -> AveragedModel:
    """Return a moving average of a network's weights that reaches back over a share of the steps.

    Its decay rises with the steps, so that the share is the same in a long run and in a short one
    (the power function of Karras et al. 2024, section 3.1).
    """

    def update(averaged: Any, current: Any, count: Any) -> None:
        decay = (1 + float(count)) / (1 / config.ema + float(count))
        get_ema_multi_avg_fn(decay)(averaged, current, count)

    return AveragedModel(network, multi_avg_fn=update)
