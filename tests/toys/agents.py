"""Tiny agents of Stable-Baselines3, whose actions depend on what they see."""

from __future__ import annotations

from pathlib import Path

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecFrameStack

import dfgym
from dfgym.agents.sb3 import WholeFrameCNN


def tiny_agent(world: Path, path: Path) -> str:
    """Save an agent of two frames that plays a world; returns its name as a player."""
    venv = dfgym.make_sb3("DFWorld-v0", num_envs=2, world=str(world), device="cpu")
    keywords = {
        "features_extractor_class": WholeFrameCNN,
        "features_extractor_kwargs": {"standardize": True},
    }
    model = PPO(
        "CnnPolicy",
        VecFrameStack(venv, 2),
        policy_kwargs=keywords,
        seed=0,
        device="cpu",
    )
    venv.close()
    return save(model, path)


def save(model: BaseAlgorithm, path: Path) -> str:
    """Save an agent that has learned nothing, with weights by which its choices differ.

    Returns:
        Its name as a player.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in (p for p in model.policy.parameters() if p.dim() > 1):
            spread = torch.randn(parameter.shape, generator=generator)
            parameter.add_(2 * spread / parameter[0].numel() ** 0.5)
    model.save(path)
    return f"sb3:{type(model).__name__.lower()}:{path}"
