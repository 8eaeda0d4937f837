"""One self-contained HTML page from a measurement: plots, tables, and a moving picture."""

from __future__ import annotations

import base64
from html import escape
from typing import Any

from dfgym.evaluation import sections

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #566170; --page: #ffffff; --card: #f4f6f8;
  --rule: #d8dde3; --dream: #6635cc; --real: #1f7a4d; --copy: #7d8794; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --soft: #a3aebc; --page: #12161c;
  --card: #1b212a; --rule: #323b47; --dream: #b79cff; --real: #5fd39a; --copy: #8691a0; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page);
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } h2 { margin: 2.5rem 0 .5rem; border-top: 1px solid var(--rule);
  padding-top: 1rem; } p, figcaption, summary { color: var(--soft); max-width: 46rem; }
.numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: 1rem;
  margin: 1.5rem 0; padding: 0; list-style: none; }
.numbers li { background: var(--card); border-radius: .5rem; padding: .75rem 1rem;
  color: var(--soft); font-size: .875rem; line-height: 1.35; }
.numbers b { display: block; color: var(--ink); font-size: 1.75rem; line-height: 1.2; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .875rem; }
.wide { overflow-x: auto; } summary { cursor: pointer; margin: .5rem 0; font-size: .875rem; }
th, td { padding: .25rem .9rem .25rem 0; text-align: right; border-bottom: 1px solid var(--rule); }
th:first-child, td:first-child { text-align: left; } thead th { color: var(--soft); }
figure { margin: 1rem 0; } img { image-rendering: pixelated; max-width: 100%; width: 24rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr));
  gap: 1rem; }
svg { background: var(--card); border-radius: .5rem; width: 100%; }
svg text { fill: var(--soft); font-size: 11px; } svg .title, svg .value { fill: var(--ink); }
svg .title { font-size: 13px; } .grid { stroke: var(--rule); }
.line { fill: none; stroke-width: 2; }
.dream { color: var(--dream); } .real { color: var(--real); } .copy, .even { color: var(--copy); }
.line { stroke: currentcolor; } circle, rect { fill: currentcolor; }
circle.part { fill: var(--page); stroke: var(--ink); stroke-width: 1.5; }
.line.even { stroke-dasharray: 4; } circle.even { display: none; }
@media print { :root { color-scheme: light; --ink: #000; --soft: #333; --page: #fff; --card: #fff;
  --rule: #bbb; --dream: #6635cc; --real: #1f7a4d; --copy: #666; }
  body { margin: 0; font-size: 11pt; } h2 { break-after: avoid; }
  svg, .numbers li { border: 1px solid var(--rule); break-inside: avoid; }
  tr, figure { break-inside: avoid; } details::details-content { content-visibility: visible;
  block-size: auto; } * { print-color-adjust: exact; } }
"""
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
    drawers = {
        "legality": sections.legality,
        "transfer": sections.transfer,
        "horizon": sections.horizon,
        "next_frame": sections.next_frame,
        "motion": sections.motion,
        "drift": sections.drift,
        "speed": sections.speed,
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
    body += [_headline(found), KEY]
    body += [draw(found[name]) for name, draw in drawers.items() if found.get(name)]
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


def _headline(found: dict[str, Any]) -> str:
    """What a reader wants to know first, one number each."""
    numbers = []
    if found.get("legality"):
        counts = found["legality"]["dream"]
        numbers.append((f"{counts['illegal_per_1000']:.2g}", "of 1,000 steps break the rules"))
        numbers.append(
            (f"{counts['wrong_per_1000']:.2g}", "of 1,000 lawful ones have a wrong reward or end")
        )
    if (found.get("transfer") or {}).get("transfer") is not None:
        share = f"{found['transfer']['transfer']:.0%}"
        numbers.append((share, "of the real training's score, in the real game, after dreams only"))
    if found.get("speed"):
        speed = found["speed"]
        numbers.append((f"{speed['single_steps_per_second']:.0f}", "steps a second, one game"))
        numbers.append((f"{speed['vector_frames_per_second']:.0f}", "frames a second, 64 games"))
    items = "".join(f"<li><b>{value}</b>{escape(words)}</li>" for value, words in numbers)
    return f'<ul class="numbers">{items}</ul>' if items else ""


def _settings(found: dict[str, Any]) -> str:
    plain = {**found["settings"], **found["machine"]}
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in plain.items())
