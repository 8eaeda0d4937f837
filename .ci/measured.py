"""Put what an evaluation has measured on a shipped world's card, in place of what stood there.

    dfgym evaluate minigrid-fourrooms-v0 --out evaluation --rungs ...
    python .ci/measured.py envs_registry/minigrid-fourrooms-v0 evaluation/evaluation.json

What takes a quiet machine or hours, speed, transfer and the seconds of the making, stays if the
evaluation has none; all else that it did not answer goes. Then `python docs/site/cards.py`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from dfgym.evaluation.run import card_entries
from dfgym.files import write_atomic
from dfgym.world.card import Card

STAYS = ("seconds", "speed", "transfer")


def main() -> None:
    """Write the card anew."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("world", type=Path)
    parser.add_argument("evaluation", type=Path)
    options = parser.parse_args()
    file = options.world / "world.toml"
    card = Card.from_toml(file.read_bytes(), str(file))
    results = json.loads(options.evaluation.read_text())
    if results["world"]["name"] != card.name:
        parser.error(f"{options.evaluation} is of {results['world']['name']}, not of {card.name}")
    if results["settings"]["quick"]:
        parser.error(f"{options.evaluation} is a quick look; a card takes a measurement")
    stays = {name: card.measured[name] for name in STAYS if name in card.measured}
    card = dataclasses.replace(card, measured={**stays, **card_entries(results)})
    write_atomic(file, card.to_toml().encode())


if __name__ == "__main__":
    main()
