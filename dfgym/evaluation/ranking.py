"""Whether the dream ranks players as the real game does: what choosing one by dreams costs.

    python -m dfgym.evaluation.ranking --world minatar-breakout-v0 --out evaluation/ranking \
        --players sb3:ppo:runs/dream/agent.zip sb3:ppo:runs/real/agent.zip

scores agents beside the scripted players, in both games; `dfgym evaluate` then ranks them all.

Legend: p players, e episodes of each.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from dfgym import checks
from dfgym.command import run_command
from dfgym.data.cluster import Cluster, share_out
from dfgym.errors import ConfigError, NotMeasuredError
from dfgym.evaluation.correlation import correlate, half_swap, interval, ranks, spearman
from dfgym.evaluation.plots import scatter_plot
from dfgym.evaluation.report import Figure, Rung, Section, Table, percent
from dfgym.evaluation.rollout import Dream, Real, Rows, find_game
from dfgym.evaluation.subject import MakeDynamics, Subject
from dfgym.evaluation.verdict import Finding, Level
from dfgym.files import write_json
from dfgym.games import Policy
from dfgym.world import shelf
from dfgym.world.card import Card

NAME = "ranking"
GRID = (0.0, 0.03, 0.06, 0.1, 0.15, 0.2, 0.27, 0.35, 0.45, 0.6, 0.8, 1.0)
"""The scripted players: their shares of random actions."""
LEAST = 12
"""A ranking of fewer players says nothing."""
EPISODES, QUICK_EPISODES = 24, 4
ROUND = 8
"""The scripted players play so many episodes of each game at a time."""
SECONDS = 90.0
"""No further round begins if it would end after this time; the first one is always played."""
STEPS, QUICK_STEPS = 300, 100
"""An episode is cut after so many steps."""
RESAMPLES = 1000
GOOD, POOR = 0.9, 0.5
"""A rank correlation of this is a merit; of less than that, a fault."""
FILE = "players.json"
Positive = Annotated[int, Meta(ge=1)]


@dataclass(frozen=True)
class Config:
    """Score agents in dream and real game, to be ranked beside the scripted players."""

    players: tuple[str, ...]
    """Players' names; see `dfgym.agents.players`."""
    world: str = shelf.DEFAULT
    """A world on the shelf."""
    out: Path = Path("evaluation/ranking")
    """The folder that `dfgym evaluate` looks into: `ranking` in its own."""
    episodes: Positive = EPISODES
    """Of each player in each game."""
    steps: Positive = STEPS
    """An episode is cut after so many."""
    ray: str = ""
    """Score on a Ray cluster, by its address: `auto`, `host:6379`, `ray://host:10001`; or `local`,
    this machine alone. All its machines must see the agents' files."""
    processes: Positive = 2
    """How many scores are worked out at a time where the cluster is `local`."""

    def __post_init__(self) -> None:
        """Check the fields."""
        checks.check(self, ConfigError)


Returns = dict[str, dict[str, list[float]]]
"""Of each player by its name: the returns `dream`, `real` and `again`, a second time in the real
game, which older files lack."""
Score = Callable[[str, str, int], Sequence[float]]
"""From a player's name, an environment's id and a seed to the returns of the episodes."""
SEED = 10_000
"""Of the agents' first episodes in both games; their second ones count from twice that."""


def measure(subject: Subject) -> dict[str, Any]:
    """Rank the scripted players, and those that were scored before; see `compare`.

    Raises:
        NotMeasuredError: there are too few players.
    """
    episodes, steps = (QUICK_EPISODES, QUICK_STEPS) if subject.quick else (EPISODES, STEPS)
    returns: Returns = {}
    if find_game(subject.card) is not None:
        returns = score_grid(subject.make, subject.card, episodes, steps, subject.seed_of(17))
    file = subject.folder / NAME / FILE
    if file.is_file():
        returns |= read(file)
    if len(returns) < LEAST:
        raise NotMeasuredError(
            f"a ranking needs {LEAST} players, and there are {len(returns)}; score agents of this "
            "game with python -m dfgym.evaluation.ranking --players ..."
        )
    return {"steps": steps, **compare(returns)}


def read(path: Path) -> Returns:
    """Read the returns of players that were scored before.

    Args:
        path: of a file that `score_players` wrote.

    Raises:
        ConfigError: it is damaged, or a player lacks the returns of a game.
    """
    advice = (
        "mend it, or delete it and score its players again with python -m "
        f"dfgym.evaluation.ranking --players ... --out {path.parent}"
    )
    try:
        returns = json.loads(path.read_text())
    except (OSError, ValueError) as reason:
        raise ConfigError(f"{path} cannot be read: {reason}; {advice}") from reason
    if not isinstance(returns, dict):
        raise ConfigError(f"{path} holds no table of players; {advice}")
    for name, games in returns.items():
        if not isinstance(games, dict):
            raise ConfigError(f"{path}: player {name!r} has no table of returns; {advice}")
        for game in ("dream", "real", *(("again",) if "again" in games else ())):
            if game not in games:
                raise ConfigError(f"{path}: player {name!r} lacks the returns `{game}`; {advice}")
            values = games[game]
            if not (isinstance(values, list) and values and all(map(_is_number, values))):
                raise ConfigError(
                    f"{path}: `{game}` of player {name!r} must be a list of numbers, one an "
                    f"episode; {advice}"
                )
    return returns


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def score_grid(
    make: MakeDynamics, card: Card, episodes: int = EPISODES, steps: int = STEPS, seed: int = 17
) -> Returns:
    """Let the scripted players play the dream and twice the real game, side by side.

    Args:
        make: makes the dynamics.
        card: of the world.
        episodes: of each player in each game, at most: in a slow game there is time for
            `ROUND` of them only; of more, whole rounds.
        steps: an episode is cut after so many.
        seed: of the games and of the players.
    """
    size = min(episodes, ROUND)
    rows = len(GRID) * size
    sides: dict[str, Rows] = {
        "dream": Dream(make(rows), seed),
        "real": Real(card, rows, seed + 1),
        "again": Real(card, rows, seed + 2),
    }
    policies = [_grid(card, size, seed + place) for place in range(len(sides))]
    returns: Returns = {f"scripted:{epsilon:g}": {n: [] for n in sides} for epsilon in GRID}
    begin = time.monotonic()
    for played in range(1, episodes // size + 1):
        for own, (name, game) in zip(policies, sides.items(), strict=True):
            values = play_once(game, own, steps)
            for player, row in zip(returns.values(), values.reshape(len(GRID), -1), strict=True):
                player[name] += row.tolist()
        if (time.monotonic() - begin) * (played + 1) / played > SECONDS:
            break
    return returns


def _grid(card: Card, episodes: int, seed: int) -> list[Policy]:
    game = find_game(card)
    assert game is not None
    shares = [epsilon for epsilon in GRID for _ in range(episodes)]
    seeds = np.random.SeedSequence(seed).spawn(len(shares))
    return [game.policy(epsilon, item) for epsilon, item in zip(shares, seeds, strict=True)]


def play_once(game: Rows, policies: Sequence[Policy], steps: int) -> np.ndarray:
    """Play one episode in each row, cut after so many steps; returns the returns, `(b,)`."""
    game.reset(np.arange(game.num_rows))
    for policy in policies:
        policy.reset()
    returns, over, frames = np.zeros(game.num_rows), np.zeros(game.num_rows, bool), game.frames()
    last = np.array([play(frame) for play, frame in zip(policies, frames, strict=True)])
    for _ in range(steps):
        after = game.step(last)
        returns += np.where(over, 0.0, after.rewards)
        over |= after.terminated
        if over.all():
            break
        if (again := np.flatnonzero(after.terminated)).size:
            game.reset(again)  # a real game may not be stepped after its end
        for row in np.flatnonzero(~over).tolist():
            last[row] = policies[row](after.frames[row])
    return returns


def compare(returns: Returns, seed: int = 0) -> dict[str, Any]:
    """Compare the dream's ranking with the real game's.

    Args:
        returns: of each player by its name, in each game.
        seed: of the resampling.

    Returns:
        `players`: for each its mean return in `dream` and `real`, and of how many `episodes` in
        either; `spearman` and `pearson`, each with the `..._interval` of 95 % over episodes (see
        `correlation.interval`); `regret`: what choosing the dream's best
        player costs, as a share of the range of real returns; `violation`: the mean over players of
        the largest real gap that the dream turns around, as the same share (Li et al. 2024);
        `real_spearman`: the real game against itself, over players that it played twice, or None.

    Raises:
        ConfigError: there are fewer than 12 players.
    """
    if len(returns) < LEAST:
        raise ConfigError(
            f"`returns` has {len(returns)} players; expected at least {LEAST}: a ranking of fewer "
            "says nothing"
        )
    random = np.random.default_rng(seed)
    games = [[player[game] for player in returns.values()] for game in ("dream", "real")]
    dream, real = (np.array([np.mean(row) for row in rows]) for rows in games)
    samples = [
        np.stack([random.choice(row, (RESAMPLES, len(row))).mean(1) for row in rows], 1)
        for rows in games
    ]
    for rows, sample in zip(games, samples, strict=True):
        _widen(rows, sample)
    span = float(np.ptp(real)) or 1.0
    result: dict[str, Any] = {
        "players": {
            name: {"dream": float(x), "real": float(y), "episodes": len(returns[name]["real"])}
            for name, x, y in zip(returns, dream, real, strict=True)
        },
        "regret": float(real.max() - real[dream.argmax()]) / span,
        "violation": violation(dream, real) / span,
    }
    for name, prepare, nearest in (
        ("spearman", ranks, 1 - half_swap(len(returns))),
        ("pearson", np.asarray, 1 - 1e-9),
    ):
        value = float(correlate(prepare(dream), prepare(real)))
        resampled = correlate(*map(prepare, samples))
        result[name] = value
        result[f"{name}_interval"] = list(interval(value, resampled, nearest))
    pairs = [(p["real"], p["again"]) for p in returns.values() if "again" in p]
    means = [[float(np.mean(row)) for row in side] for side in zip(*pairs, strict=True)]
    return result | {"real_spearman": spearman(*map(np.array, means)) if pairs else None}


def _widen(rows: Sequence[Sequence[float]], samples: np.ndarray) -> None:
    """Scale resampled means `(r, p)` in place: their variance is (e - 1) / e of the true one."""
    for place, row in enumerate(rows):
        if len(row) > 1:
            mean = np.mean(row)
            scale = math.sqrt(len(row) / (len(row) - 1))
            samples[:, place] = mean + scale * (samples[:, place] - mean)


def violation(dream: np.ndarray, real: np.ndarray) -> float:
    """Return the mean over players of the largest real gap that the dream turns around."""
    gaps = real[:, None] - real
    turned = gaps * (dream[:, None] - dream) < 0
    return float((np.abs(gaps) * turned).max(1).mean())


def findings(result: dict[str, Any]) -> list[Finding]:
    """Return whether players can be chosen by dreams."""
    value, own, count = result["spearman"], result["real_spearman"], len(result["players"])
    words = f"it ranks {count} players as the game does with a correlation of {value:.2f}"
    if not is_tested(result):
        words = f"the real game ranks {count} players as itself with a correlation of {own:.2f}"
        return [Finding("untested", f"the ranking of players was not tested: {words}")]
    level: Level = "merit" if value >= GOOD else "fault" if value < POOR else "flaw"
    return [Finding(level, f"{words} (Spearman)", 10 * (1 - value))]


def is_tested(result: dict[str, Any]) -> bool:
    """Return whether the real game ranks the players as itself; if not, no dream can."""
    own = result["real_spearman"]
    return own is None or own >= GOOD


def card_entries(result: dict[str, Any]) -> dict[str, Any]:
    """Return what a world's card says of ranking; nothing if it was not tested."""
    if not is_tested(result):
        return {}
    names = ("spearman", "spearman_interval", "real_spearman", "pearson", "regret")
    entries = {name: result[name] for name in names if result[name] is not None}
    return {NAME: {"players": len(result["players"]), **entries}}


def section(result: dict[str, Any]) -> Section:
    """Report how dreams rank players."""
    players = sorted(result["players"].items(), key=lambda item: -item[1]["real"])
    rows = [[name, f"{p['real']:.2f}", f"{p['dream']:.2f}"] for name, p in players]
    (low, high), linear = result["spearman_interval"], result["pearson_interval"]
    own = "" if result["real_spearman"] is None else f"{result['real_spearman']:.3f}"
    value, regret = f"{result['spearman']:.3f}", f"{100 * result['regret']:.1f} %"
    return Section(
        "Ranking of players",
        f"Over {len(players)} players the dream's mean returns and the real game's have a rank "
        f"correlation (Spearman) of {value} (95 % interval {low:.3f} to {high:.3f}) and a linear "
        f"one (Pearson) of {result['pearson']:.3f} ({linear[0]:.3f} to {linear[1]:.3f}). "
        f"Choosing the dream's best player costs {regret} of the range of returns; "
        "the largest real gap that it turns around is "
        f"{100 * result['violation']:.1f} % of it, in the mean over players."
        + (f" The real game agrees with itself by {own}." if own else ""),
        f"{_count_episodes(result)}Episodes of {result['steps']} steps at most. The scripted "
        "players differ in their shares of random actions. The interval is over episodes, of the "
        "correlation that as many other ones would give in the mean; noise in the returns lowers "
        "it as it lowers that of the game with itself.",
        [Figure(value, "rank correlation of players' returns, dream and real game")],
        [
            scatter_plot(
                "mean return of each player",
                [player["real"] for _, player in players],
                [player["dream"] for _, player in players],
                ("in the real game", "in the dream"),
            )
        ],
        Table(["player", "real", "dream"], rows),
        [
            Rung("players", "Does it rank players as the game does? (Spearman)", value, own,
                 "0.00"),
            Rung("players", "What does choosing by dreams cost? (of the range)", regret, "0.0 %",
                 percent(_cost_of_a_guess(result["players"]), 1)),
        ],
    )  # fmt: skip


def _count_episodes(result: dict[str, Any]) -> str:
    counts = {player.get("episodes") for player in result["players"].values()}
    counts.discard(None)  # of an older result
    return f"{' or '.join(map(str, sorted(counts)))} episodes of each player. " if counts else ""


def _cost_of_a_guess(players: dict[str, dict[str, float]]) -> float:
    """Return the mean regret of any player; in a dream that never pays all are equal."""
    real = np.array([player["real"] for player in players.values()])
    return float(real.max() - real.mean()) / (float(np.ptp(real)) or 1.0)


def score_players(config: Config, score: Score) -> Path:
    """Score players in the dream and twice in the real game; adds them to the file.

    Args:
        config: whom, and where.
        score: plays.

    Returns:
        The path of the file.

    Raises:
        ConfigError: there is a file, and it is damaged.
    """
    path = config.out / FILE
    returns = read(path) if path.is_file() else {}
    dream, real = f"DFWorld/{config.world}", f"DFReal/{config.world}"
    sides = {"dream": (dream, SEED), "real": (real, SEED), "again": (real, 2 * SEED)}
    works = [(player, *side) for player in config.players for side in sides.values()]
    cluster = Cluster(config.ray, config.processes) if config.ray else None
    values = share_out(lambda work: list(score(*work)), works, cluster)
    config.out.mkdir(parents=True, exist_ok=True)
    for player in config.players:
        returns[player] = {game: next(values) for game in sides}
        write_json(path, returns)
    return path


def main() -> int:
    """Run the module as a command; returns the exit code."""
    import tyro

    def command() -> None:
        from dfgym.agents import evaluate

        config = tyro.cli(Config, description=__doc__)
        shelf.card(config.world)

        def score(player: str, env: str, seed: int) -> list[float]:
            limit = config.steps
            played = evaluate.evaluate(player, env, config.episodes, seed, max_episode_steps=limit)
            return [float(value) for value in played.returns]

        path = score_players(config, score)
        print(f"wrote {path}")

    return run_command("dfgym", command)


if __name__ == "__main__":
    from dfgym.evaluation import ranking as itself  # by the name that other processes import

    sys.exit(itself.main())
