"""Whether a dream teaches agents whose settings nobody tuned: PPO as Stable-Baselines3 ships it.

    python .ci/plain_agents.py --world minatar-breakout-v0 --out runs/plain --seeds 0 1 2 3 4

Each agent learns in the dream or in the real game, and is scored in both, as by
`dfgym.evaluation.transfer`, whose summary is printed. An agent that has a result is not trained
again, so the work can be shared between processes (`--sides dream`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import tyro
from stable_baselines3 import PPO

from dfgym.agents import evaluate
from dfgym.agents.sb3 import open_training
from dfgym.device import use_threads
from dfgym.evaluation.transfer import IDS, Side, summary
from dfgym.files import write_json

EPISODES = 100


@dataclass(frozen=True)
class Config:
    """Which agents are trained."""

    world: str = "minatar-breakout-v0"
    out: Path = Path("runs/plain")
    sides: tuple[Side, ...] = ("dream", "real")
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    steps: int = 200_000


def score(config: Config, agent: str, seed: int) -> dict[str, dict[str, float]]:
    """Score an agent in both games, with seeds that training has not used."""
    return {
        game: evaluate.evaluate(
            agent, name.format(config.world), EPISODES, seed=10_000 + 1000 * seed
        ).to_dict()
        for game, name in IDS.items()
    }


def train(config: Config, side: Side, seed: int) -> Path:
    """Train one agent; returns the path of its zip."""
    path = config.out / f"agent-{side}-{seed}"
    env = IDS[side].format(config.world)
    venv = open_training(env, 32, "auto")
    agent = PPO(
        "CnnPolicy",
        venv,
        n_steps=128,
        batch_size=512,
        n_epochs=4,
        learning_rate=3e-4,
        ent_coef=0.01,
        clip_range=0.1,
        seed=seed,
        device="cpu",
    )
    agent.learn(config.steps)
    agent.save(path)
    venv.close()
    return path.with_suffix(".zip")


def main() -> None:
    """Train and score the agents that have no result yet, and print the summary of all."""
    config = tyro.cli(Config, description=__doc__)
    use_threads("an agent's training", None)
    settings = {"world": config.world, "steps": config.steps, "episodes": EPISODES}
    random = config.out / "random.json"
    if not random.is_file():
        write_json(random, {**settings, "scores": score(config, "random", 0)})
    for seed in config.seeds:
        for side in config.sides:
            result = config.out / f"{side}-{seed}.json"
            if not result.is_file():
                agent = f"sb3:ppo:{train(config, side, seed)}"
                scores = score(config, agent, seed)
                write_json(result, {**settings, "side": side, "seed": seed, "scores": scores})
                print(side, seed, {game: scores[game]["mean"] for game in IDS}, flush=True)
    result = summary(config.out) or {}
    del result["random"]
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
