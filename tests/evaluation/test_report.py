"""The report: a page that stands alone, plots that are XML, words that do not lie."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from dfgym.evaluation import agent_results, horizon, legality, transfer
from dfgym.evaluation import next_frame as single_steps
from dfgym.evaluation.plots import COLOURS, Bar, bar_plot, line_plot
from dfgym.evaluation.report import DARK, Figure, Heading, Rung, Section, Step, Table, climb, render
from dfgym.evaluation.verdict import Finding, conclude
from toys.html import external_requests

HEADING = Heading("toy-v0", "A <toy> & more.", {"device": "cpu"}, quick=False)
SECTION = Section("Colours", "All <right>.", "By eye.", [Figure("3", "of 3")], [], Table([""], []))


def next_frame(events: int) -> dict[str, Any]:
    """Return a measurement in which the game has earned or ended so many times."""
    scores = {"psnr": 30.0, "ssim": 0.9, "exact": 0.5}
    event = {"events": events, "predictions": 0, "precision": None, "recall": 0.0, "f1": 0.0}
    if not events:
        event |= {"recall": None, "f1": None}
    pixels = {"pixels": 0, "right": None}
    game = {**scores, "reward": event, "termination": event, "changing": pixels}
    bins = {"ece": 0.0, "count": [9], "probability": [0.0], "frequency": [0.0]}
    return {
        "moments": 9,
        "policy": "a random policy",
        "usual_reward": 0.0,
        "dream": {
            **game,
            "calibration": bins,
            "shuffled": {**scores, "psnr": 20.0},
            "listening": {"moments": 90, "error": 5.0, "interval": [4.0, 6.0]},
        },
        "copy": game,
    }


def returns(**sides: list[float]) -> dict[str, Any]:
    """Return a summary of agents whose returns are the same in dream and real game."""
    result: dict[str, Any] = {"steps": 10, "episodes": 2}
    result["random"] = {game: {"mean": 0.5} for game in ("real", "dream")}
    for side, means in sides.items():
        scores = agent_results.summarise_seeds(means)
        seeds = list(range(len(means)))
        result[side] = {"seeds": seeds, "in_real": scores, "in_dream": scores}
    pairs = {(side, game): means for side, means in sides.items() for game in ("real", "dream")}
    return result | transfer.ratios(pairs)


def test_a_page_needs_nothing_else_and_escapes_its_words() -> None:
    plot = line_plot("a < b & c", [1, 2], {"dream": [0.1, 0.5]}, "x")
    section = Section("Colours", "All <right>.", "By eye.", plots=[plot])
    page = render(HEADING, [section], {"speed": "no <clock>"}, b"GIF89a")
    assert not external_requests(page) and "data:image/gif;base64,R0lGODlh" in page
    assert "A &lt;toy&gt; &amp; more." in page and "All &lt;right&gt;." in page
    assert "a &lt; b &amp; c" in page and "no &lt;clock&gt;" in page
    assert "prefers-color-scheme: dark" in page and "@media print" in page


def test_verdicts_stand_at_the_top_and_absent_sections_say_why() -> None:
    page = render(HEADING, [SECTION], {"transfer": "no agents yet"})
    top, body = page.split("<section", 1)
    assert "All &lt;right&gt;." in top and "Not measured" in top and "transfer" in top
    assert "no agents yet" in body
    assert "A quick look" not in page
    quick = Heading("toy-v0", "", {}, quick=True)
    assert "A quick look, not a measurement" in render(quick, [SECTION], {})
    assert "Not measured" not in render(quick, [SECTION], {})


def test_the_ladder_shows_a_dash_where_a_ceiling_or_a_floor_means_nothing() -> None:
    steps = [
        Step(Rung("players", "Well?", "1", "", "0"), "merit"),
        Step(Rung("pixels", "Right?", "2", "3"), "flaw"),
        Step(Rung("trust", "Sure?", "4", "", "5", "untested"), "merit"),  # a verdict of its own
    ]
    assert climb(steps).rows == [
        ["pixels", "Right?", "2", "3", "-", "flaw"],
        ["trust", "Sure?", "4", "-", "5", "untested"],
        ["players", "Well?", "1", "-", "0", "merit"],
    ]


def test_the_game_some_steps_on_is_a_rung() -> None:
    scores = {"psnr": [40.0, 30.0, 20.0], "ssim": [1.0] * 3, "exact": [1.0, 0.5, 0.1]}
    result = {"policy": "x", "horizons": [1, 16, 32], "moments": [4] * 3, "dream": scores,
              "copy": {**scores, "exact": [0.0] * 3}}  # fmt: skip
    (rung,) = horizon.section(result).rungs
    assert "16 steps on" in rung.question
    assert (rung.figure, rung.real, rung.copy) == ("50 % / 30.0 dB", "", "0 % / 30.0 dB")


def test_the_floor_of_transfer_is_random_play() -> None:
    ladder = transfer.section(returns(dream=[8.0, 9.0], real=[10.0, 10.0])).rungs
    assert [rung.copy for rung in ladder] == ["5 %", ""]
    assert ladder[0].figure.startswith("85 % (95 % interval over seeds ")
    assert ladder[1].figure == "1.00 (1.00 to 1.00)"
    losses = {**returns(dream=[8.0, 9.0], real=[10.0, 10.0]), "counted_from": {"real": 0.5}}
    assert transfer.section(losses).rungs[0].copy == "0 %"


def test_both_themes_colour_the_same_things() -> None:
    assert DARK.keys() == COLOURS.keys()
    page = render(HEADING, [SECTION], {})
    assert all(page.count(f"--{name}: ") == 2 for name in COLOURS)


@pytest.mark.parametrize("log_x", [False, True])
def test_a_line_plot_is_xml_with_text_and_the_themes_colours(log_x: bool) -> None:
    series = {"dream": [0.1, 0.5, 120.0], "real": [3.0, -2.0, 1e-3]}
    plot = line_plot('a < "b" & c', [1, 2, 512], series, "frames", log_x)
    root = ElementTree.fromstring(plot.svg)
    assert root.attrib["aria-label"] == 'a < "b" & c'
    words = {text.text for text in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"dream", "real", "frames"} <= words
    assert "var(--dream)" in plot.svg and "var(--real)" in plot.svg and "#" in plot.svg
    assert not any(colour in plot.svg for colour in COLOURS.values())
    assert plot == line_plot('a < "b" & c', [1, 2, 512], series, "frames", log_x)


def test_plots_of_nothing_but_zeros() -> None:
    ElementTree.fromstring(line_plot("flat", [1], {"dream": [0.0]}, "x", y_range=(0, 0)).svg)
    ElementTree.fromstring(bar_plot("flat", [Bar("dream", 0.0, "0", "dream")]).svg)


def test_bars_say_their_values() -> None:
    bars = [Bar("dream", 3.0, "three", "dream", (2.0, 4.0), (1.0, 5.0))]
    root = ElementTree.fromstring(bar_plot("returns", bars).svg)
    words = {text.text for text in root.iter("{http://www.w3.org/2000/svg}text")}
    assert words == {"dream", "three"}


def test_events_that_never_came_are_not_tested() -> None:
    untested = single_steps.section(next_frame(events=0))
    assert untested.verdict.count("not tested, 0 events") == 2
    assert not any("F1" in plot.title for plot in untested.plots)
    assert untested.table is not None and "not tested" in untested.table.rows[0]
    tested = single_steps.section(next_frame(events=4))
    assert tested.verdict.count("F1 0.00 of 4 events") == 2
    assert sum("F1 of 4 events" in plot.title for plot in tested.plots) == 2


def test_a_dream_that_ignores_its_actions_is_called_so() -> None:
    result = next_frame(events=0)
    assert "the dream obeys its actions" in single_steps.section(result).verdict
    result["dream"]["listening"]["interval"] = [-1.0, 2.0]
    assert "the dream ignores its actions" in single_steps.section(result).verdict
    faults = [f.words for f in single_steps.findings(result) if f.level == "fault"]
    assert any("does not listen to actions" in words for words in faults)
    result["dream"]["listening"] = {"moments": 0, "error": None, "interval": None}
    assert "was not tested" in single_steps.section(result).verdict


def test_a_dream_that_is_worse_than_a_copy_is_called_so() -> None:
    result = next_frame(events=0)
    result["copy"] = {**result["copy"], "psnr": 31.7}
    words = [f.words for f in single_steps.findings(result) if f.level == "fault"]
    assert words == ["worse than copying the last frame: 30.0 dB against 31.7"]
    result["real"] = {**result["copy"], "psnr": 31.0}  # chance makes a copy the best guess
    assert not [f for f in single_steps.findings(result) if f.level == "fault"]


def test_a_verdict_puts_what_matters_first() -> None:
    items = [Finding("merit", "m"), Finding("flaw", "f"), Finding("flaw", "g", 2.0)]
    verdict = conclude([*items, Finding("untested", "u")])
    assert [finding.words for finding in verdict.findings] == ["g", "f", "u", "m"]
    assert verdict.overall == "playable, with 2 flaws; the first: g (1 thing not tested)"
    broken = conclude([*items, Finding("fault", "no ball")])
    assert broken.overall == "not fit to play or to train in: no ball"
    assert broken.lines()[1] == "  fault: no ball"
    assert conclude([]).overall == "nothing was tested"
    assert conclude([Finding("untested", "u")]).overall == "nothing was tested"
    assert conclude(items[:1]).overall == "no fault was measured"
    many = conclude([Finding("flaw", str(i)) for i in range(20)]).lines()
    assert many[-1] == "  flaw: and 8 more, in the report"
    page = render(Heading("toy-v0", "", {}, False, broken), [SECTION], {})
    assert page.index("no ball") < page.index("All &lt;right&gt;")


def test_findings_of_the_other_questions() -> None:
    counts = {"transitions": 1000, "illegal": 0, "illegal_per_1000": 0.0, "wrong_per_1000": 0.0}
    for rate, level in ((1.0, "merit"), (20.0, "flaw"), (400.0, "fault")):
        dream = {**counts, "illegal_per_1000": rate}
        (item,) = legality.findings({"dream": dream, "real": counts})
        assert item.level == level
    (item,) = legality.findings({"dream": counts, "real": {**counts, "illegal": 1000}})
    assert item.level == "untested" and "another game" in item.words
    few = returns(dream=[17.11, 12.5, 16.93], real=[15.97, 12.53, 15.7])
    (item,) = transfer.findings(few)
    assert item.level == "untested" and "3 of the 5 seeds" in item.words
    good = returns(dream=[17.11, 12.5, 16.93, 16.0, 15.0], real=[15.97, 12.53, 15.7, 15.0, 14.0])
    (item,) = transfer.findings(good)
    assert item.level == "merit" and "interval over seeds" in item.words
    assert "interval over seeds" in transfer.section(good).figures[0].words
    bad = returns(dream=[5.0, 5.1, 4.9, 5.2, 4.8], real=[10.0, 10.1, 9.9, 10.2, 9.8])
    assert transfer.findings(bad)[0].level == "flaw"
    assert transfer.findings(returns(real=[10.0, 11.0]))[0].level == "untested"


def test_a_ratio_of_few_seeds_carries_its_interval() -> None:
    few = transfer.section(returns(dream=[17.11, 12.5, 16.93], real=[15.97, 12.53, 15.7]))
    assert "105 % of what the real game's agents reach" in few.verdict
    assert "95 % interval over seeds 72 % to 148 %" in few.verdict
    assert "not significant" in few.verdict
    clear = transfer.section(returns(dream=[5.0, 5.1, 4.9], real=[10.0, 10.1, 9.9]))
    assert "not significant" not in clear.verdict
    one = transfer.section(returns(dream=[5.0], real=[10.0]))
    assert "50 %" in one.verdict and "no bounded interval" in one.verdict
    half = transfer.section(returns(real=[10.0, 11.0]))
    assert "not tested" in half.verdict and not half.figures
