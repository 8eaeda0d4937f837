"""Memory: what a dream recalls of what has left the window, by how it remembers (row D17)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from dfgym.evaluation import memory
from dfgym.evaluation.memory import Pair, Trip
from dfgym.files import write_json
from dfgym.statistics import bootstrap_interval, mean_interval
from dfgym.study.backbones import memory_bytes, step_times
from dfgym.study.blocks import RolloutSpec
from dfgym.study.figures import lines
from dfgym.study.games import WHOLE
from dfgym.study.runner import FORMAT, MEMORIES, StudyRunner, remembering
from dfgym.study.verdict import Condition, Numbers
from dfgym.study.write import Finding, table
from dfgym.world.bundle import World
from dfgym.world.dynamics import Dynamics
from dfgym.world.settings import Settings

GAMES = ("rooms",)
GAPS, TRIPS, PAIR_GAP = (2, 8, 32, 128), 64, 32
QUICK_GAPS, QUICK_TRIPS, QUICK_PAIR_GAP = (2, 4), 2, 4
SEED = 0
"""Of the trips, and of the training that all memories have; the layouts were not trained on."""
BASE = "window-6"
SEEDS = {name: (0, 1, 2) for name in (BASE, "archive", "state-space", "spatial-map")}
"""Those of the trainings of the window and of the three memories; the others have one."""
QUICK_MEMORIES = (BASE, "archive", "state-space", "spatial-map")
BATCHES, QUICK_BATCHES = (1, 64), (1, 4)
LESS, LEAST, MOST_CHANGED = 32, 0.9, 0.02


def _recalls_more(numbers: Numbers, name: str) -> bool | None:
    """Whether a memory is right on more of what has left the window, with intervals apart."""
    if name not in numbers:
        return None
    own, base = (numbers[n]["gaps"].get(str(LESS)) for n in (name, BASE))
    if own is None:
        return None
    return bool(own["interval"][0] > base["interval"][1])


def _recalls_long(numbers: Numbers) -> bool | None:
    longest = str(GAPS[-1])
    shares = [n["gaps"][longest]["remembered"] for n in numbers.values() if longest in n["gaps"]]
    return any(share >= LEAST for share in shares) if shares else None


CONDITIONS = (
    *(
        Condition(
            f"at gap {LESS} {name} recalls more tiles than the window alone",
            partial(_recalls_more, name=name),
        )
        for name in ("archive", "state-space", "spatial-map")
    ),
    Condition(f"at gap {GAPS[-1]} the best recalls {LEAST:.0%}", _recalls_long),
    Condition(
        f"an irrelevant past changes under {MOST_CHANGED:.0%} of the tiles, whatever the memory",
        lambda numbers: all(n["pairs"]["irrelevant"] < MOST_CHANGED for n in numbers.values()),
    ),
)


def measure(runner: StudyRunner, games: Sequence[str]) -> Finding:
    """Ask each memory what it recalls after each gap, and what two pasts change."""
    whole = runner.scale == WHOLE
    gaps, count = (GAPS, TRIPS) if whole else (QUICK_GAPS, QUICK_TRIPS)
    pair_gap = PAIR_GAP if whole else QUICK_PAIR_GAP
    trips = {gap: memory.make_trips(gap, count, SEED + gap) for gap in gaps}
    pairs = [
        memory.make_pairs(pair_gap, count, SEED, relevant=relevant) for relevant in (True, False)
    ]
    numbers: dict[str, Any] = {}
    for game in games:
        seeds = {
            name: SEEDS.get(name, (SEED,)) if whole else (SEED,)
            for name in (MEMORIES if whole else QUICK_MEMORIES)
        }
        firsts = {
            name: runner.model(game, remembering(name, of_name[0])).world
            for name, of_name in seeds.items()
        }
        answers = {
            name: [_answer(runner, game, remembering(name, seed), trips, pairs) for seed in of_name]
            for name, of_name in seeds.items()
        }
        timed = {name: (world, RolloutSpec()) for name, world in firsts.items()}
        times = step_times(timed, runner.scale.repeats, BATCHES if whole else QUICK_BATCHES)
        numbers[game] = {
            name: _combine(of_seeds)
            | {
                "milliseconds": times[name],
                "time_over_window": {b: ms / times[BASE][b] for b, ms in times[name].items()},
                "bytes_a_row": memory_bytes(firsts[name]),
                "parameters": sum(value.numel() for value in firsts[name].weights.values()),
            }
            for name, of_seeds in answers.items()
        }
    bounds = {
        name: {str(gap): _summarize(memory.accuracy(draw(t), t)) for gap, t in trips.items()}
        for name, draw in (("prior", memory.prior), ("whole past", memory.look_up))
    }
    lines_of = {
        game: (
            gaps,
            {n: _curve(v["gaps"], gaps) for n, v in named.items()}
            | {name: _curve(bound, gaps) for name, bound in bounds.items()},
        )
        for game, named in numbers.items()
    }
    return Finding(
        "Memory beyond the window",
        "what is missing is long memory: choosing the frames to refer to, state-space layers, and "
        "memory in space.",
        _result(numbers, gaps[-1]),
        numbers,
        _text(numbers, bounds, pair_gap, count),
        lines(lines_of, "there and back", "gap, steps", "remembered tiles right, share", True),
    )


def _answer(
    runner: StudyRunner,
    game: str,
    model: str,
    trips: dict[int, list[Trip]],
    pairs: list[list[Pair]],
) -> dict[str, Any]:
    """Ask a model, once: what it said is kept beside it."""
    world = runner.model(game, model).world
    path = runner.folder / game / "measured" / f"{model.replace(' ', '-')}.json"
    origin = {"format": FORMAT, "model": world.hash, "trips": sum(map(len, trips.values()))}
    if path.is_file() and (saved := json.loads(path.read_text())).get("origin") == origin:
        return dict(saved["answer"])
    answer = _examine(world, trips, pairs, runner.device)
    write_json(path, {"origin": origin, "answer": answer})
    return answer


def _examine(
    world: World, trips: dict[int, list[Trip]], pairs: list[list[Pair]], device: str
) -> dict[str, Any]:
    """Ask one world; the dream is given all frames but the last, or dreams the trip."""

    def make(rows: int) -> Dynamics:
        return Dynamics(world, rows, Settings(device))

    dream = partial(memory.dream_return, make)
    by_gap = {
        str(gap): _summarize(memory.accuracy(dream(of_gap, forced=True), of_gap))
        | {"dreamed": _summarize(memory.accuracy(dream(of_gap), of_gap))}
        for gap, of_gap in trips.items()
    }
    longest = trips[max(trips)]
    emptied = memory.accuracy(dream(longest, forced=True, zeroed=True), longest)
    relevant, irrelevant = (memory.compare_pairs(make, some, forced=True) for some in pairs)
    return {
        "gaps": by_gap,
        "emptied": _summarize(emptied)["remembered"],
        "pairs": {
            "apart": float(np.mean(relevant["apart"])),
            "irrelevant": float(np.mean(irrelevant["changed"])),
        },
    }


def _combine(answers: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the means over training seeds, with intervals over them; a single one as it is."""
    if len(answers) == 1:
        return answers[0]
    gaps = {}
    for gap, entry in answers[0]["gaps"].items():
        of_seeds = [answer["gaps"][gap] for answer in answers]
        dreamed = _over_seeds([n["dreamed"]["remembered"] for n in of_seeds])
        gaps[gap] = entry | _over_seeds([n["remembered"] for n in of_seeds]) | {"dreamed": dreamed}
    pairs: dict[str, Any] = {}
    for name in ("apart", "irrelevant"):
        values = [answer["pairs"][name] for answer in answers]
        pairs |= {name: float(np.mean(values)), f"{name}_per_seed": values}
    emptied = float(np.mean([answer["emptied"] for answer in answers]))
    return {"gaps": gaps, "emptied": emptied, "pairs": pairs}


def _over_seeds(shares: list[float]) -> dict[str, Any]:
    interval = list(mean_interval(shares) or ())
    return {"remembered": float(np.mean(shares)), "interval": interval, "per_seed": shares}


def _summarize(counts: np.ndarray) -> dict[str, Any]:
    """Return the share of tiles that are right, of counts `(trips, 2)`, and its interval."""

    def share(values: np.ndarray) -> np.ndarray:
        right, cells = values.sum(-2).T
        return right / cells

    return {
        "remembered": float(share(counts)),
        "interval": list(bootstrap_interval(counts, share)),
        "tiles": int(counts[:, 1].sum()),
        "trips": len(counts),
    }


def _curve(by_gap: dict[str, Any], gaps: Sequence[int]) -> list[float]:
    return [by_gap[str(gap)]["remembered"] for gap in gaps]


def _range(numbers: dict[str, Any]) -> str:
    low, high = numbers["interval"]
    return f"{numbers['remembered']:.0%} [{low:.0%}, {high:.0%}]"


def _result(numbers: dict[str, Any], gap: int) -> str:
    return "; ".join(
        f"{game}: at gap {gap} "
        + ", ".join(f"{n} {v['gaps'][str(gap)]['remembered']:.0%}" for n, v in named.items())
        for game, named in numbers.items()
    )


def _text(numbers: dict[str, Any], bounds: dict[str, Any], pair_gap: int, count: int) -> str:
    gaps = [f"gap {gap}" for gap in bounds["prior"]]
    rows = [
        [name, *(f"{n['remembered']:.0%}" for n in bound.values()), "-", "-", "-"]
        for name, bound in bounds.items()
    ]
    costs = []
    for named in numbers.values():
        for name, v in named.items():
            apart, changed = v["pairs"]["apart"], v["pairs"]["irrelevant"]
            last = [f"{v['emptied']:.0%}", f"{apart:.0%}", f"{changed:.2%}"]
            rows.append([name, *(_range(n) for n in v["gaps"].values()), *last])
            ratios = " and ".join(f"{r:.2f}" for r in v["time_over_window"].values())
            kib = f"{v['bytes_a_row'] / 1024:.0f}"
            dreamed = [f"{n['dreamed']['remembered']:.0%}" for n in v["gaps"].values()]
            costs.append([name, *dreamed, ratios, kib, f"{v['parameters']:,}"])
    tiles = [n["tiles"] for n in bounds["prior"].values()]
    batches = next(iter(next(iter(numbers.values())).values()))["milliseconds"]
    times = f"time at batch {' and '.join(batches)}"
    return (
        "The agent wanders, stands somewhere, leaves, and is back after a gap; the world is given "
        "all frames but the last and draws that one. Counted are tiles of the floor, one of three "
        "colours by chance, that it saw there and that no frame of the last "
        f"{memory.RECENT} before the return shows: {count} trips and {min(tiles)} to {max(tiles)} "
        "tiles a gap, with 95 % intervals. `prior`: in each place the commonest colour of "
        "the other trips; "
        "`whole past`: each tile as it was last in sight. `emptied`: the memory is "
        "zeroed before that frame, at the longest gap. `apart`: of two pasts that differ in one "
        f"such tile, {pair_gap} steps ago, how often a dream is nearer to its own game (chance "
        "50%). `irrelevant`: tiles that change if the two pasts differ in a tile that is not in "
        f"sight. {count} pairs each; all trainings are as long. {_absent(numbers)} "
        f"{_seeds(numbers)}\n\n"
        f"{table(['memory', *gaps, 'emptied', 'apart', 'irrelevant'], rows)}\n\n"
        "The same where the world dreams the trip too, the time of a "
        "step over that of the window alone at each batch "
        "(of one run, under its load), KiB a row and parameters:\n\n"
        + table(["memory", *gaps, times, "KiB", "size"], costs)
    )


def _absent(numbers: dict[str, Any]) -> str:
    """Name the memories that were not measured."""
    absent = [name for name in MEMORIES if any(name not in named for named in numbers.values())]
    return f"Neither trained nor measured: {', '.join(absent)}." if absent else "All were trained."


def _seeds(numbers: dict[str, Any]) -> str:
    """Say over what the intervals are: several trainings of a memory, or the trips of one."""
    counts = {
        name: len(next(iter(v["gaps"].values())).get("per_seed", [SEED]))
        for named in numbers.values()
        for name, v in named.items()
    }
    several = [f"{name} ({count})" for name, count in counts.items() if count > 1]
    if not several:
        return "Each was trained once; the intervals are over trips."
    return (
        f"Intervals are over training seeds for {', '.join(several)}, and over the trips of a "
        "single training for the others."
    )
