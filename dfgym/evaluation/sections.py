"""The sections of a fidelity report: plots to read, and the numbers behind them folded away.

Each takes its part of a measurement (of `run.evaluate`) and returns HTML.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from dfgym.evaluation import svg

GAMES = ("dream", "real", "copy")


def legality(found: dict[str, Any]) -> str:
    """Judge the transitions by the real game's rules."""
    shown = (
        ("illegal_per_1000", "illegal transitions in 1,000", 1, "{:.2f}", 10.0),
        ("wrong_per_1000", "reward or end wrong in 1,000 legal ones", 1, "{:.2f}", 2.0),
        ("sticky_share", "steps that show a sticky outcome", 100, "{:.2f} %", 0.0),
    )
    plots = [
        svg.bars(
            title,
            [
                svg.Bar(name, name, scale * counts[key], form.format(scale * counts[key]))
                for name, counts in found.items()
            ],
            least,
        )
        for key, title, scale, form, least in shown
    ]
    rows = [
        [
            name,
            f"{counts['transitions']:,}",
            f"{counts['illegal_per_1000']:.2f}",
            f"{counts['wrong_per_1000']:.2f}",
            f"{100 * counts['sticky_share']:.2f} %",
        ]
        for name, counts in found.items()
    ]
    head = [
        "",
        "transitions",
        "illegal in 1,000",
        "reward or end wrong in 1,000 legal",
        "sticky outcome seen",
    ]
    return (
        "<h2>Legal transitions</h2><p>Whether each transition is one that the real game's rules "
        "allow, from any hidden state that fits all that was drawn, under the commanded action or, "
        "as the game's sticky actions may, under the last one again. The scripted player with 20 % "
        f"random actions plays, 500 frames an episode at most.</p>"
        f"{_plots(plots)}{_table(head, rows)}"
    )


def horizon(found: dict[str, Any]) -> str:
    """Compare dream and truth over the horizon."""
    plots = [
        svg.lines(
            title, found["horizons"], _series(found, key), "steps after the real past", True, y
        )
        for key, title, y in (
            ("exact", "share of frames with no wrong pixel", (0.0, 1.0)),
            ("psnr", "PSNR, dB", None),
            ("ssim", "SSIM", (0.0, 1.0)),
        )
    ]
    return (
        "<h2>Over the horizon</h2><p>Dream and real game go on from the same real past under the "
        "same recorded actions. Chance parts the real game from itself too, so its own line is as "
        f"high as any dream can stay.</p>{_plots(plots)}{_counts(found)}"
    )


def _counts(found: dict[str, Any]) -> str:
    rows = [["pasts", *map(str, found["moments"])]]
    for name in GAMES:
        if name in found:
            rows.append([f"{name}, exact", *(f"{value:.2f}" for value in found[name]["exact"])])
    return _table(["horizon", *map(str, found["horizons"])], rows)


def next_frame(found: dict[str, Any]) -> str:
    """Compare one step with the truth."""
    rows = []
    for name in GAMES:
        if name in found:
            rows.append([name, *_frame(found[name]), *_events(found[name])])
    rows.append(["dream, shuffled actions", *_frame(found["dream"]["shuffled"]), *[""] * 6])
    head = ["", "PSNR", "SSIM", "exact"]
    head += [
        f"{what}, {how}" for what in ("reward", "end") for how in ("precision", "recall", "F1")
    ]
    bins = found["dream"]["calibration"]
    shown = [(name, name, found[name]) for name in GAMES if name in found]
    shown.append(("shuffled actions", "even", found["dream"]["shuffled"]))
    plots = [
        svg.bars(
            title,
            [svg.Bar(name, look, part[key], form.format(part[key])) for name, look, part in shown],
            least,
        )
        for key, title, form, least in (
            ("exact", "share of frames with no wrong pixel", "{:.3f}", 1.0),
            ("psnr", "PSNR, dB", "{:.1f}", 0.0),
        )
    ]
    for what, title in (("reward", "reward foreseen, F1"), ("termination", "end foreseen, F1")):
        part = [
            svg.Bar(n, look, p[what]["f1"] or 0.0, _score(p[what]["f1"]))
            for n, look, p in shown[:-1]
        ]
        plots.append(svg.bars(title, part, 1.0))
    if len(bins["probability"]) > 1:
        series = {"dream": bins["frequency"], "even": bins["probability"]}
        title = f"end of the episode: how often it came (ECE {bins['ece']:.4f})"
        plots.append(
            svg.lines(title, bins["probability"], series, "predicted probability", False, (0, 1))
        )
    return (
        f"<h2>The next frame</h2><p>One step from each of {found['moments']:,} real pasts. With "
        "shuffled actions the dream must do worse, or it does not listen. Expected calibration "
        f"error of the end's probability: {bins['ece']:.4f}.</p>{_plots(plots)}{_table(head, rows)}"
    )


def _frame(found: dict[str, Any]) -> list[str]:
    return [f"{found['psnr']:.1f}", f"{found['ssim']:.4f}", f"{found['exact']:.4f}"]


def _events(found: dict[str, Any]) -> list[str]:
    names = ("precision", "recall", "f1")
    return [_score(found[what][name]) for what in ("reward", "termination") for name in names]


def _score(value: float | None) -> str:
    return "not tested" if value is None else f"{value:.3f}"


def motion(found: dict[str, Any]) -> str:
    """Compare how far things move with how far they should."""
    rows = [["starts", *(str(count) for count in found["starts"])]]
    rows += [
        [f"{name}, {words}", *(f"{value:.3g}" for value in found[name][key])]
        for name in ("position", "angle")
        for key, words in (
            ("moved", "recorded change"),
            ("error", "error of the dreamed one"),
            ("share", "dreamed over recorded"),
        )
    ]
    plots = [
        svg.lines(
            f"{name}, {unit}",
            found["horizons"],
            {"real": found[name]["moved"], "dream": found[name]["error"]},
            "frames dreamed",
            y_range=(0, 0),
        )
        for name, unit in (("position", "units of the game"), ("angle", "degrees"))
    ]
    return (
        "<h2>Motion</h2><p>The dream goes on from real pasts under the recorded actions. How far "
        "cart and pole moved in the recording (real) and how far the dream is from there (dream), "
        f"root mean squares over the starts that can be read in both.</p>{_plots(plots)}"
        f"{_table(['frames dreamed', *map(str, found['horizons'])], rows)}"
    )


def drift(found: dict[str, Any]) -> str:
    """Show what the pictures of one long game look like as it goes on."""
    count = len(found["dream"]["brightness"])
    x = [found["block"] * (index + 1) for index in range(count)]
    titles = {
        "brightness": "brightness",
        "detail": "detail: difference of neighbouring pixels",
        "change": "share of pixels that change in a step",
        "illegal_per_1000": "illegal transitions in 1,000",
        "drawn_error": "difference from the real game's drawing, grey levels",
    }
    plots = [
        svg.lines(title, x, _series(found, key), "frames played", y_range=(0, 0))
        for key, title in titles.items()
        if key in found["dream"]
    ]
    longest = " and ".join(f"{found[name]['longest']:,} ({name})" for name in ("dream", "real"))
    return (
        "<h2>Drift</h2><p>The scripted player plays on without a limit on the episode; one that "
        f"ends begins anew. Longest episodes in steps: {longest}.</p>{_plots(plots)}"
    )


def transfer(found: dict[str, Any]) -> str:
    """Compare agents that learned in the dream with agents that learned in the real game."""
    rows = [["random", *(f"{found['random'][game]['mean']:.2f}" for game in ("real", "dream")), ""]]
    for side, words in (
        ("dream", "PPO trained in the dream"),
        ("real", "PPO trained in the real game"),
    ):
        if side in found:
            scores = found[side]
            each = ", ".join(f"{value:.2f}" for value in scores["in_real"]["each"])
            means = [f"{scores[f'in_{game}']['mean']:.2f}" for game in ("real", "dream")]
            rows.append([words, *means, each])
    plots = [
        svg.bars(
            f"mean return in the {game} game, a dot for each agent",
            [
                svg.Bar(
                    "random player",
                    "copy",
                    (chance := found["random"][key]["mean"]),
                    f"{chance:.2f}",
                )
            ]
            + [
                svg.Bar(
                    f"learned: {side}",
                    side,
                    part["mean"],
                    f"{part['mean']:.2f}",
                    tuple(part["each"]),
                )
                for side in ("dream", "real")
                if side in found and (part := found[side][f"in_{key}"])
            ],
        )
        for game, key in (("real", "real"), ("dreamed", "dream"))
    ]
    words = ""
    if found.get("transfer") is not None:
        words += f"Trained in the dream it reaches {found['transfer']:.0%} of the real training. "
    if found.get("honesty") is not None:
        words += f"Dream return over real return of the dream's agents: {found['honesty']:.2f}."
    head = ["mean return", "in the real game", "in the dream", "each seed, in the real game"]
    return (
        f"<h2>Transfer</h2><p>The same PPO, {found['steps']:,} steps in either game, scored over "
        f"{found['episodes']} episodes a seed. {words}</p>{_plots(plots)}{_table(head, rows)}"
    )


def speed(found: dict[str, Any]) -> str:
    """List the timings."""
    rows = [[name.replace("_", " "), _number(value)] for name, value in found.items()]
    return f"<h2>Speed</h2>{_table(['', ''], rows, folded=False)}"


def _number(value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.3g}" if isinstance(value, float) and abs(value) < 100 else f"{value:,.0f}"


def _series(found: dict[str, Any], key: str) -> dict[str, Sequence[float]]:
    return {name: found[name][key] for name in GAMES if name in found}


def _plots(plots: Iterable[str]) -> str:
    return f'<div class="plots">{"".join(plots)}</div>'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], folded: bool = True) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    table = f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
    table = f'<div class="wide">{table}</div>'
    return f"<details><summary>the numbers</summary>{table}</details>" if folded else table
