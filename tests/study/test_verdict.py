"""Verdicts: conditions answered by numbers, and what the answers make of a claim."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

import pytest

from dfgym.study.command import CLAIMS
from dfgym.study.few_steps import CONDITIONS as FEW_STEPS
from dfgym.study.verdict import Condition, explain, judge, more_errors, never_more

WORSE, NEAR, BETTER = ({"interval": ends} for ends in ([5.0, 6.0], [3.0, 5.0], [1.0, 2.0]))


def conditions(*keys: str) -> Sequence[Condition]:
    return [Condition(f"{key} holds", itemgetter(key)) for key in keys]


@pytest.mark.parametrize(
    ("answers", "verdict"),
    [
        ([(True, True), (True, True)], "supported"),
        ([(True, None), (True, True)], "supported"),
        ([(True, True), (True, False)], "partly"),
        ([(True, True), (None, None)], "partly"),
        ([(False, True), (False, False)], "partly"),
        ([(False, False), (False, None)], "not supported"),
        ([(None, None), (None, None)], "not tested"),
    ],
)
def test_answers_make_a_verdict(answers: list[tuple[bool | None, ...]], verdict: str) -> None:
    numbers = {
        game: {key: of_key[index] for key, of_key in zip("ab", answers, strict=True)}
        for index, game in enumerate(("breakout", "cartpole"))
    }
    assert judge(conditions("a", "b"), numbers) == verdict


def test_a_part_that_is_not_tried_leaves_a_claim_partly_supported() -> None:
    tried, untried = conditions("a"), [Condition("it remembers")]
    assert judge([*tried, *untried], {"breakout": {"a": True}}) == "partly"
    assert judge(untried, {"breakout": {}}) == "not tested"
    words = explain([*tried, *untried], {"breakout": {"a": True}, "cartpole": {"a": None}})
    assert words == "- a holds: breakout yes, cartpole not tested\n- it remembers: not tested"


def test_more_errors_are_those_beyond_a_gap() -> None:
    assert more_errors(WORSE, BETTER) and not more_errors(BETTER, WORSE)
    assert not more_errors(WORSE, NEAR), "they touch"
    assert never_more([BETTER, NEAR], NEAR) and not never_more([BETTER, WORSE], BETTER)


def test_few_steps_are_judged_by_the_worst_of_them() -> None:
    def answers(shortcut: list[dict[str, list[float]]]) -> list[bool | None]:
        by_steps = dict(zip(("1", "2", "4", "16"), shortcut, strict=True))
        game = {"x": dict.fromkeys(("1", "2", "4", "16"), WORSE), "x, shortcut": by_steps}
        return [condition.answers({"toy": game})["toy"] for condition in FEW_STEPS]

    assert answers([BETTER] * 4) == [True, True, None]
    assert answers([BETTER, WORSE, BETTER, BETTER]) == [False, False, None]


def test_every_claim_says_what_must_hold() -> None:
    for claim in CLAIMS:
        assert claim.conditions, claim.name
