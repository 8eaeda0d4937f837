"""Write agents/hyperparams/*.yml, RL Baselines3 Zoo's files, from the numbers of dfgym's agents.

python .ci/zoo.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dfgym.agents import dqn, ppo
from dfgym.world import shelf

FOLDER = Path(__file__).parents[1] / "agents" / "hyperparams"
HEAD = """\
# RL Baselines3 Zoo's format, written by .ci/zoo.py; the first values are agents/{name}.py's.
# python -m rl_zoo3.train --algo {name} --gym-packages dfgym -conf FILE \\
#     --env DFWorld/minatar-breakout-v0
"""
CNN = "features_extractor_class=__import__('dfgym.agents.sb3', fromlist=['sb3']).WholeFrameCNN"
SHARED = {"n_timesteps": "steps", "n_envs": "num_envs"}
# The Zoo's names for an agent's fields, in its files' order.
FIELDS: dict[Any, dict[str, str]] = {
    ppo: {
        **SHARED,
        "n_steps": "rollout",
        "batch_size": "batch",
        "n_epochs": "epochs",
        "learning_rate": "learning_rate",
        "gamma": "gamma",
        "gae_lambda": "gae_lambda",
        "ent_coef": "entropy",
    },
    dqn: {
        **SHARED,
        "learning_rate": "learning_rate",
        "buffer_size": "memory",
        "learning_starts": "learning_starts",
        "batch_size": "batch",
        "gamma": "gamma",
        "gradient_steps": "updates",
        "target_update_interval": "target_every",
        "exploration_fraction": "explore",
        "exploration_final_eps": "final_epsilon",
    },
}
# What differs from an agent's defaults in CartPole, and why.
CARTPOLE: dict[Any, tuple[str, dict[str, Any]]] = {
    ppo: (
        "One frame shows no speed, so four are stacked; the ground is white; returns reach 500.",
        {"frame_stack": 4, "steps": 100_000, "standardize": True, "normalize_rewards": True},
    ),
    dqn: (
        "One frame shows no speed, so four are stacked; a transition of them takes 98 kB.",
        {"frame_stack": 4, "steps": 100_000, "memory": 10_000},
    ),
}


def entries(agent: Any, config: Any) -> dict[str, str]:
    """Return the Zoo's values for a configuration of an agent."""
    values = vars(config)
    standardize = ", features_extractor_kwargs=dict(standardize=True)"
    cnn = CNN + (standardize if values.get("standardize") else "")
    result = {"policy": "CnnPolicy", "policy_kwargs": f'"dict({cnn})"'}
    if values.get("normalize_rewards"):
        result["normalize"] = "\"{'norm_obs': False, 'norm_reward': True}\""
    if config.frame_stack > 1:
        result["frame_stack"] = str(config.frame_stack)
    result |= {name: str(values[field]) for name, field in FIELDS[agent].items()}
    if agent is ppo:
        result["learning_rate"] = f"lin_{config.learning_rate}"  # it falls to 0
    else:
        result["train_freq"] = "1"  # updates follow each step of all copies
    return result


def text(agent: Any) -> str:
    """Return the file of an agent."""
    reason, changes = CARTPOLE[agent]
    breakout, cartpole = (entries(agent, agent.Config(**c)) for c in ({}, changes))
    different = {name: value for name, value in cartpole.items() if breakout.get(name) != value}
    return (
        HEAD.format(name=agent.__name__.rpartition(".")[2])
        + _twins("minatar-breakout-v0", "breakout", breakout)
        + f"\n# {reason}\n"
        + _twins("cartpole-pixels-v0", "cartpole", {"<<": "*breakout", **different})
    )


def _twins(world: str, anchor: str, values: dict[str, str]) -> str:
    lines = "".join(f"  {name}: {value}\n" for name, value in values.items())
    twins = [f"DFReal/{world}", *(["DFWorld-v0"] if world == shelf.DEFAULT else [])]
    copies = "".join(f"\n{id}:\n  <<: *{anchor}\n" for id in twins)
    return f"DFWorld/{world}: &{anchor}\n{lines}{copies}"


if __name__ == "__main__":
    for module in FIELDS:
        (FOLDER / f"{module.__name__.rpartition('.')[2]}.yml").write_text(text(module))
