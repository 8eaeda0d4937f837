"""The transfer figures on the cards of the worlds that ship, computed again from their seeds."""

from __future__ import annotations

import pytest

from dfgym.evaluation import agent_results, transfer
from dfgym.files import plain
from dfgym.world import shelf

PLACES = ("dream", "real")


@pytest.mark.parametrize("world", ["minatar-breakout-v0", "cartpole-pixels-v0"])
def test_a_cards_intervals_are_those_of_its_seeds(world: str) -> None:
    table = shelf.card(world).measured["transfer"]
    # Agents of the real CartPole have not played the dream of its last training.
    unplayed = {"real_trained_in_dream"} - table.keys()
    assert not unplayed or world == "cartpole-pixels-v0"
    table = {name: {"per_seed": [0.0] * 5} for name in unplayed} | table
    returns = {
        (side, game): table[f"{side}_trained_in_{game}"]["per_seed"]
        for side in PLACES
        for game in PLACES
    }
    result = {
        "steps": table["steps"],
        "episodes": table["episodes"],
        "random": {"real": {"mean": table["random_in_real"]}},
        **transfer.ratios(returns),
    }
    for side in PLACES:
        result[side] = {
            f"in_{game}": agent_results.summarise_seeds(returns[side, game]) for game in PLACES
        }
    expected = plain(transfer.card_entries(result)["transfer"])
    assert table.keys() == expected.keys()
    for name, value in expected.items():
        if name in unplayed:
            continue
        if isinstance(value, dict):
            for key in value:  # the seeds' returns on a card have four digits
                assert table[name][key] == pytest.approx(value[key], rel=1e-3)
        else:
            assert table[name] == pytest.approx(value, rel=1e-3)
