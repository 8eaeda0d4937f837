"""One self-contained HTML page from a measurement: plots, tables, and a moving picture."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from dfgym.evaluation import svg

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --page: #ffffff; --card: #f4f6f8;
  --rule: #d8dde3; --dream: #b4235a; --real: #1f7a4d; --copy: #8a93a0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --soft: #9aa6b5; --page: #12161c;
  --card: #1b212a; --rule: #323b47; --dream: #ff7aa8; --real: #5fd39a; --copy: #76808e; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page);
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } h2 { margin: 2.5rem 0 .5rem; border-top: 1px solid var(--rule);
  padding-top: 1rem; } p, figcaption { color: var(--soft); max-width: 46rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .9rem .25rem 0; text-align: right; border-bottom: 1px solid var(--rule); }
th:first-child, td:first-child { text-align: left; } thead th { color: var(--soft); }
figure { margin: 1rem 0; } img { image-rendering: pixelated; max-width: 100%; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1rem; }
svg { background: var(--card); border-radius: .5rem; width: 100%; }
svg text { fill: var(--soft); font-size: 11px; } svg .title { fill: var(--ink); font-size: 13px; }
.grid { stroke: var(--rule); } .line { fill: none; stroke-width: 2; }
.dream { color: var(--dream); } .real { color: var(--real); } .copy, .even { color: var(--copy); }
.line { stroke: currentcolor; } circle { fill: currentcolor; }
.line.even { stroke-dasharray: 4; } circle.even { display: none; }
"""
GAMES = ("dream", "real", "copy")
KEY = (
    '<p><b class="dream">&#9632; dream</b> &ensp; <b class="real">&#9632; real</b> the real game '
    'against itself &ensp; <b class="copy">&#9632; copy</b> the last real frame for ever</p>'
)


def page(found: dict[str, Any], film: bytes | None = None) -> str:
    """Draw a measurement (of `run.evaluate`); sections that it lacks are named at the end.

    Args:
        found: the measurement.
        film: a GIF, put into the page.
    """
    world = found["world"]
    sections = {
        "legality": _legality,
        "transfer": _transfer,
        "horizon": _horizon,
        "next_frame": _next_frame,
        "drift": _drift,
        "speed": _speed,
    }
    body = [
        f"<h1>{escape(world['name'])}</h1><p>{escape(world['description'])}<br>"
        f"Learned from {escape(world['source'])}. Hash {world['hash'][:12]}. "
        f"{escape(_settings(found))}</p>"
    ]
    if film is not None:
        data = base64.b64encode(film).decode()
        body.append(
            f'<figure><img alt="two games side by side" src="data:image/gif;base64,{data}">'
            "<figcaption>Left the dream, right the real game; the scripted player plays each."
            "</figcaption></figure>"
        )
    body.append(KEY)
    body += [draw(found[name]) for name, draw in sections.items() if found.get(name)]
    if found["absent"]:
        items = "".join(
            f"<li>{escape(n)}: {escape(why)}</li>" for n, why in found["absent"].items()
        )
        body.append(f"<h2>Not measured</h2><ul>{items}</ul>")
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(world['name'])}</title><style>{STYLE}</style>{''.join(body)}</html>\n"
    )


def _settings(found: dict[str, Any]) -> str:
    plain = {**found["settings"], **found["machine"]}
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in plain.items())


def _legality(found: dict[str, Any]) -> str:
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
        f"random actions plays, 500 frames an episode at most.</p>{_table(head, rows)}"
    )


def _horizon(found: dict[str, Any]) -> str:
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


def _next_frame(found: dict[str, Any]) -> str:
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
    plots = []
    if len(bins["said"]) > 1:
        series = {"dream": bins["happened"], "even": bins["said"]}
        title = f"end of the episode: how often it came (ECE {bins['ece']:.4f})"
        plots.append(
            svg.lines(title, bins["said"], series, "probability that was said", False, (0, 1))
        )
    return (
        f"<h2>The next frame</h2><p>One step from each of {found['moments']:,} real pasts. With "
        "shuffled actions the dream must do worse, or it does not listen. Expected calibration "
        f"error of the end's probability: {bins['ece']:.4f}.</p>{_table(head, rows)}{_plots(plots)}"
    )


def _frame(found: dict[str, Any]) -> list[str]:
    return [f"{found['psnr']:.1f}", f"{found['ssim']:.4f}", f"{found['exact']:.4f}"]


def _events(found: dict[str, Any]) -> list[str]:
    names = ("precision", "recall", "f1")
    return [f"{found[what][name]:.3f}" for what in ("reward", "termination") for name in names]


def _drift(found: dict[str, Any]) -> str:
    count = len(found["dream"]["brightness"])
    x = [found["block"] * (index + 1) for index in range(count)]
    titles = {
        "brightness": "brightness",
        "detail": "detail: difference of neighbouring pixels",
        "change": "share of pixels that change in a step",
        "illegal_per_1000": "illegal transitions in 1,000",
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


def _transfer(found: dict[str, Any]) -> str:
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
    words = ""
    if found.get("transfer") is not None:
        words += f"Trained in the dream it reaches {found['transfer']:.0%} of the real training. "
    if found.get("honesty") is not None:
        words += f"Dream return over real return of the dream's agents: {found['honesty']:.2f}."
    head = ["mean return", "in the real game", "in the dream", "each seed, in the real game"]
    return (
        f"<h2>Transfer</h2><p>The same PPO, {found['steps']:,} steps in either game, scored over "
        f"{found['episodes']} episodes a seed. {words}</p>{_table(head, rows)}"
    )


def _speed(found: dict[str, Any]) -> str:
    rows = [[name.replace("_", " "), _number(value)] for name, value in found.items()]
    return f"<h2>Speed</h2>{_table(['', ''], rows)}"


def _number(value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.3g}" if isinstance(value, float) and abs(value) < 100 else f"{value:,.0f}"


def _series(found: dict[str, Any], key: str) -> dict[str, Sequence[float]]:
    return {name: found[name][key] for name in GAMES if name in found}


def _plots(plots: Iterable[str]) -> str:
    return f'<div class="plots">{"".join(plots)}</div>'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
