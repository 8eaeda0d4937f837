"""Markdown made from the worlds' cards: the README's tables, and a page a world on the site.

python docs/site/cards.py    # write the tables anew into README.md
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dfgym.actions import ActionSpace

ROOT = Path(__file__).resolve().parents[2]
SHELF = ROOT / "envs_registry"
RECIPES = ROOT / "dfgym" / "train" / "recipes"
Card = dict[str, Any]
BEGIN, END = "<!-- worlds -->", "<!-- /worlds -->"

MEANINGS = {
    "illegal_per_1000": "transitions in 1,000 that no hidden state of the real game explains",
    "wrong_per_1000": "transitions in 1,000 with a reward or an end that the game forbids",
    "sticky_share": "transitions that only a repeated last action explains: the game's chance",
    "sticky_share_real": "the same share in the real game",
    "ratio": "return in the real game, trained in the dream, over trained in the real game",
    "dream_over_real_return": "return of dream-trained agents in the dream, over the real game",
    "single_steps_per_second": "steps a second through `gym.make`",
    "single_p50_ms": "median time of a step",
    "vector_frames_per_second": "frames a second through `gym.make_vec` of 64",
    "outside_network": "share of a vector step that is spent outside the network",
    "position_error": "error of the cart's position after 10 frames, in units of the track",
    "angle_error": "error of the pole's angle after 10 frames, in degrees",
    "position_share": "how far the cart moved in 10 frames, as a share of the real way",
    "angle_share": "how far the pole turned in 10 frames, as a share of the real way",
    "side_share": "how far the rod's end moved sideways in 10 frames, as a share of the real way",
    "height_share": "how far the rod's end rose or fell in 10 frames, as a share of the real way",
    "dream": "how far dreamed frames are from the game's drawing of them, in grey levels of 255",
    "dream_last_tenth": "the same for the last tenth of the frames",
    "real": "the same for real frames: what reading them off costs",
    "median": "frames for which half of the dreams obey the real game",
    "verdict": "what the evaluation says in one line; the report has the rest",
    **{
        f"{player}_{event}": f"{event} over the real game's, under the {player} player"
        for player in ("random", "sticky_random", "scripted")
        for event in ("rewards", "ends", "appearances")
    },
}
"""What the keys of `[measured]` mean."""


def read_cards() -> dict[str, Card]:
    """Read the cards of the worlds that ship, the default world first."""
    cards = {
        file.parent.name: tomllib.loads(file.read_text()) for file in SHELF.glob("*/world.toml")
    }
    return dict(sorted(cards.items(), key=lambda item: (item[0] != "minatar-breakout-v0", item[0])))


def readme_tables() -> str:
    """Return one table of measurements for each world."""
    return "\n\n".join(f"**`{name}`**\n\n{_summary(card)}" for name, card in read_cards().items())


def world_page(card: Card) -> str:
    """Return a world's page: what it is, how it was made, and everything that was measured."""
    name, frames, sampler = card["name"], card["frames"], card["sampler"]
    side = frames["observation_scale"]
    steps = sampler["denoising_steps"]
    passes = "one denoising step" if steps == 1 else f"{steps} denoising steps"
    facts = {
        "Ids": f"`DFWorld/{name}` (the dream), `DFReal/{name}` (the real game in the same spaces)",
        "Real game": f"`{card['source']['env']}`, licence: {card['source']['licence']}",
        "Install the real game": f'in the clone, `pip install -e ".[{card["source"]["extra"]}]"`',
        "Observation": f"uint8 `({frames['height'] * side}, {frames['width'] * side}, 3)`",
        "Frames inside the model": _inside(frames),
        "Actions": _actions(card["actions"]),
        "Rewards": ", ".join(f"{value:g}" for value in card["rewards"]["values"]),
        "Frames a second": f"{frames['fps']} in play",
        "Episode": f"truncated after {card['episode']['max_steps']:,} steps",
        "Sampling": f"{passes} a frame, context mode `{sampler['context_mode']}`",
    }
    blocks = [
        f"# {name}",
        card["description"],
        f'```python\nimport gymnasium as gym, dfgym\n\nenv = gym.make("DFWorld/{name}")\n```',
        _table(("", ""), facts.items()),
        "## What was measured",
        *_words(card["measured"]),
        *_report(name),
        _summary(card),
        "Everything that the card holds, as `dfgym worlds` prints it:",
        _table(("measurement", "value", "meaning"), _measured(card["measured"])),
        "## How it was made",
        "The recorded data, whose policies are named by the grammar of "
        "[Make a world](../guide/make_a_world.md), with their shares of the frames:",
        _table(
            ("policy", "share"), ((f"`{p}`", f"{s:g}") for p, s in card["data"]["policies"].items())
        ),
        f"{card['data']['frames']:,} frames in {card['data']['episodes']:,} episodes, of which "
        f"{card['data']['held_out']:.0%} are held out: starts and evaluation come from them.",
        "The network and its training:",
        _table(("setting", "value"), _settings(card)),
        _how_again(name, card["training"].get("from_world", "")),
    ]
    return "\n\n".join(blocks) + "\n"


def _report(name: str) -> list[str]:
    """Link what `dfgym evaluate` wrote of a world, where it is kept."""
    if not (ROOT / "docs" / "reports" / f"{name}.html").is_file():
        return []
    return [f"[The whole report](../reports/{name}.html): the ladder, plots and a film."]


def _how_again(name: str, begun_from: str) -> str:
    """Say how a world is made again: by its recipe, or as the diary tells."""
    if (RECIPES / f"{name}.toml").is_file() and not begun_from:
        return f"To make it again: `dfgym make-world {name}`."
    return "How it was made, command by command: [the diaries](../lab/index.md)."


def worlds_index() -> str:
    """Return the page that lists the worlds."""
    cards = read_cards()
    rows = (
        (
            f"[`{name}`]({name}.md)",
            card["description"],
            _count(card["actions"]),
            f"{card['sampler']['denoising_steps']}",
        )
        for name, card in cards.items()
    )
    return (
        "# Worlds\n\nA world is a learned game: a card, weights, and real frames to start from. "
        "These ship with the package; the pages are made from their cards.\n\n"
        + _table(("world", "game", "actions", "denoising steps"), rows)
        + "\n\nWhat a denoising step is: "
        "[diffusion forcing](../explain/diffusion_forcing.md).\n"
    )


def _count(actions: dict[str, Any]) -> str:
    """Return how many actions there are, or how many numbers an action has."""
    if "n" in actions:
        return str(actions["n"])
    parts = len(actions["names"])
    return "1 number" if parts == 1 else f"{parts} numbers"


def _summary(card: Card) -> str:
    """Return the measurements that a reader asks for first, with their intervals over seeds."""
    measured = card["measured"]
    rows = [*_transfer_rows(measured.get("transfer")), *_fidelity_rows(measured)]
    speed = measured["speed"]
    rows.append(("Steps a second, one environment", f"{speed['single_steps_per_second']:.0f}", ""))
    rows.append(("Frames a second, 64 together", f"{speed['vector_frames_per_second']:,.0f}", ""))
    return _table(("", "measured", "95 % interval over seeds"), rows)


def _words(measured: dict[str, Any]) -> Iterator[str]:
    """Say in words what the evaluation holds of the world, and what it left out."""
    if verdict := measured.get("verdict"):
        yield f"In a line: {verdict}"
    if trouble := measured.get("evaluation"):
        yield f"The evaluation {trouble}."


def _transfer_rows(transfer: dict[str, Any] | None) -> Iterator[tuple[str, str, str]]:
    if transfer is None:
        return
    yield _row(
        "Return in the real game, agent trained in the dream", transfer["dream_trained_in_real"]
    )
    yield _row("Return in the real game, agent trained there", transfer["real_trained_in_real"])
    yield "Return in the real game, random play", f"{transfer['random_in_real']:.3g}", ""
    ratio, interval = transfer["ratio"], transfer.get("ratio_interval")
    between = f"{interval[0]:.0%} to {interval[1]:.0%}" if interval else ""
    gained = ", of what is gained over random play" if "counted_from" in transfer else ""
    yield f"Trained in the dream over trained in the real game{gained}", f"{ratio:.0%}", between
    yield _row(
        "Return in the dream, agent trained in the dream", transfer["dream_trained_in_dream"]
    )


def _row(label: str, scores: dict[str, Any]) -> tuple[str, str, str]:
    interval = scores.get("interval")
    between = f"{interval[0]:.3g} to {interval[1]:.3g}" if interval else ""
    return label, f"{scores['mean']:.3g}", between


def _fidelity_rows(measured: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    if legality := measured.get("legality"):
        count = f"{legality['transitions']:,}"
        yield (
            f"Illegal transitions in 1,000, of {count} judged",
            f"{legality['illegal_per_1000']:g}",
            "",
        )
        dream, real = legality["sticky_share"], legality["sticky_share_real"]
        yield "Transitions decided by chance, dream and real game", f"{dream:.1%}, {real:.1%}", ""
    if picture := measured.get("picture_error"):
        label = f"Picture error over {picture['frames']:,} frames, and in the last tenth"
        yield (
            label,
            f"{picture['dream']:.2g}, {picture['dream_last_tenth']:.2g} of 255 grey levels",
            "",
        )
    if motion := measured.get("motion_after_10"):
        label = "Motion over 10 frames, as a share of the real way"
        shares = (
            f"{key.removesuffix('_share')} {value:.0%}"
            for key, value in motion.items()
            if key.endswith("_share")
        )
        yield label, ", ".join(shares), ""


def _inside(frames: dict[str, Any]) -> str:
    size = f"{frames['height']} x {frames['width']}"
    colours = len(frames["palette"])
    return f"{size}, {f'one-hot over {colours} colours' if colours else 'RGB'}"


def _actions(actions: dict[str, Any]) -> str:
    if actions.get("kind", "discrete") != "discrete":
        space = ActionSpace.from_plain({k: v for k, v in actions.items() if k != "keys"})
        sets = (
            f"{key} sets {', '.join(f'{name} to {value:g}' for name, value in entry.items())}"
            for key, entry in actions["keys"].items()
        )
        return f"`{space}`, parts {', '.join(space.part_names)}; keys: {'; '.join(sets) or 'none'}"
    keys = {action: key for key, action in actions["keys"].items()}
    named = (
        f"{index} = {meaning}" + (f" (key {keys[index]})" if index in keys else "")
        for index, meaning in enumerate(actions["meanings"])
    )
    return f"`Discrete({actions['n']})`: {', '.join(named)}"


def _measured(table: dict[str, Any], above: str = "") -> Iterator[tuple[str, str, str]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _measured(value, f"{above}{key}.")
        else:
            text = ", ".join(map(_number, value)) if isinstance(value, list) else _number(value)
            yield f"`{above}{key}`", text, MEANINGS.get(key, "")


def _settings(card: Card) -> Iterator[tuple[str, str]]:
    for room in ("model", "sampler", "training"):
        for key, value in card[room].items():
            yield f"`{room}.{key}`", _number(value)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(head: tuple[str, ...], rows: Any) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def with_tables(readme: str) -> str:
    """Return the README with its tables made anew."""
    before, rest = readme.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n{readme_tables()}\n{END}{after}"


if __name__ == "__main__":
    file = ROOT / "README.md"
    file.write_text(with_tables(file.read_text()))
