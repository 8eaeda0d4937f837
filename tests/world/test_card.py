"""The card: it survives TOML, and refuses all that is not exactly a card."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfgym.errors import WorldError
from dfgym.world.card import MAX_CARD_BYTES, MAX_LINE, Card, read_episode
from toys.world import toy_card


def test_card_survives_toml() -> None:
    card = toy_card(
        data={"frames": 3, "policies": {"random": 0.5}, "seeds": [1, 2], "clean": True},
        measured={"score": 4.5, "text": "a \"quoted\" \\ 'word' = [x]"},
    )
    again = Card.from_toml(card.to_toml().encode(), "card")
    assert again == card
    assert again.to_toml() == card.to_toml()


def test_rgb_card() -> None:
    card = toy_card(frames=dataclasses.replace(toy_card().frames, palette=()))
    assert Card.from_toml(card.to_toml().encode(), "card") == card


def test_whole_numbers_stand_for_floats() -> None:
    text = toy_card().to_toml().replace("shift = 1.0", "shift = 1").encode()
    shift = Card.from_toml(text, "card").sampler.shift
    assert shift == 1.0
    assert type(shift) is float


BAD_CARDS = [
    ("", "[oops]\n"),
    ("format = 2", "format = 3"),
    ("format = 2", 'format = "1"'),
    ("format = 2", "format = true"),
    ("format = 2", ""),
    ("format = 2", "format = 2\nentry_point = 'os:system'"),
    ('name = "toy-random-v0"', 'name = "../toy-v0"'),
    ('name = "toy-random-v0"', "name = 5"),
    ("A toy with", "A \\u001b[31m toy with"),
    ("A toy with", "A toy with" + 600 * "!"),
    ("DFSource/MinAtar-Breakout-v0", "os:Breakout-v0"),
    ("DFSource/MinAtar-Breakout-v0", ""),
    ('extra = ""', 'extra = "a; rm -r /"'),
    ("height = 8", "height = 0"),
    ("height = 8", "height = 8.0"),
    ("height = 8", "height = true"),
    ("height = 8", "height = 100000000000000000000"),
    ("height = 8", "height = 0x" + 900 * "f"),
    ("height = 8", "height = 9"),  # not a multiple of the patch
    ("height = 8", "heigth = 8"),
    ("height = 8", "height = [8]"),
    ("height = 8", "height = 512"),  # too large once drawn
    ("observation_scale = 5", "observation_scale = 33"),
    ("fps = 15", "fps = -1"),
    ('"#c82828"', '"#c8282"'),
    ('"#c82828"', '"c82828"'),
    ('"#c82828"', "[200, 40, 40]"),
    ('"#c82828"', '"#000000"'),
    ("n = 3", "n = 4"),
    ("n = 3", "n = 2000"),
    ('kind = "discrete"', 'kind = "box"'),
    ("a = 1", "foo = 1"),
    ("a = 1", '"\\u001b" = 1'),
    ("a = 1", '"" = 1'),
    ("a = 1", "a = 3"),
    ("a = 1", "a = -1"),
    ("max_steps = 100", "max_steps = 0"),
    ("max_steps = 100", "max_steps = 10_000_001"),
    ("    0.0,\n    1.0,\n", ""),
    ("    0.0,\n    1.0,\n", "    1.0,\n    0.0,\n"),
    ("    0.0,\n    1.0,\n", "    nan,\n    1.0,\n"),
    ("    0.0,\n    1.0,\n", "    0.0,\n    inf,\n"),
    ("    0.0,\n    1.0,\n", "    0.0,\n    '1',\n"),
    ('kind = "transformer"', 'kind = "os.system"'),
    ("dim = 16", "dim = 2049"),
    ("dim = 16", "dim = 18"),
    ("depth = 1", "depth = 65"),
    ("heads = 2", "heads = 0"),
    ("heads = 2", "heads = 3"),
    ("patch = 2", "patch = 0"),
    ("window = 4", "window = 1025"),
    ("denoising_steps = 2", "denoising_steps = 129"),
    ("shift = 1.0", "shift = 0.0"),
    ("shift = 1.0", "shift = nan"),
    ("shift = 1.0", "shift = 9007199254740993"),
    ('context_mode = "clean"', 'context_mode = "Clean"'),
    ("context_noise = 0.0", "context_noise = 1.0"),
    ("[data]", "[data]\nwhen = 2026-01-01"),
    ("[data]", "[data]\nvalue = nan"),
    ("[data]", '[data]\nvalue = "\\u001b[31m"'),
    ("[data]", '[data]\nvalue = ["a\\nb"]'),
    ("[data]", '[data]\n"\\u001b[31m" = 1'),
    ("[data]", '[data]\n"\\u001b[31m" = {x = nan}'),
    ("a = 1", '"\\u001b[31m" = "x"'),
    ("[source.kwargs]", '[source.kwargs]\n"\\u001b[31m" = 1'),
    ("[data]", "[data]\nvalue = " + 9 * "[" + 9 * "]"),
    ("[data]", "[data]\nvalue = " + 400 * "[" + 400 * "]"),
    ("[data]", "[data]\n" + 500 * "a." + "a = 1"),
    ("[data]", "[data]\nvalue = " + 5000 * "[\n"),
    ("[data]", "data = 3\n"),
    ("[data]", ""),
    ('name = "toy-random-v0"', "name." + 500 * "a." + "a = 1"),
    ("[data]", "[data]\nvalue = 1" + "0" * 5000),
    ("[data]", "[data]\n# " + 2 * MAX_LINE * "x"),
    ("[data]", "[data]\n" + MAX_CARD_BYTES * "\n"),
    ("[data]", "[data]\nname = '\ud800'"),
]


@pytest.mark.parametrize(("old", "new"), BAD_CARDS)
def test_bad_card(old: str, new: str) -> None:
    text = toy_card().to_toml()
    assert old in text
    damaged = text.replace(old, new, 1).encode(errors="surrogatepass")
    with pytest.raises(WorldError, match=r"^the-card: ") as raised:
        Card.from_toml(damaged, "the-card")
    assert len(str(raised.value)) < 2 * MAX_LINE
    assert str(raised.value).isprintable()  # it is shown on a terminal


@pytest.mark.parametrize("digest", ["0" * 63, "0" * 65, "G" * 64, "0" * 64 + "\\n", "\u0660" * 64])
def test_bad_digest(digest: str) -> None:
    text = toy_card().to_toml().replace("0" * 64, digest)
    with pytest.raises(WorldError, match=r"files\.weights"):
        Card.from_toml(text.encode(), "card")


def test_card_refused_when_made_says_why() -> None:
    with pytest.raises(WorldError, match=r"measured\.score is nan; expected a finite"):
        toy_card(measured={"score": float("nan")})
    with pytest.raises(WorldError, match=r"measured\.score is .*; expected a string"):
        toy_card(measured={"score": np.float32(1)})
    with pytest.raises(WorldError, match=r"fps is 0; expected int >= 1"):
        dataclasses.replace(toy_card().frames, fps=0)


def test_slowest_card_is_read_in_seconds() -> None:
    """TOML parsers take quadratic time in a dotted key's parts; the cap on a line bounds it."""
    parts = (MAX_LINE - 20) // 2
    header = "[" + ".".join("a" * parts) + "]\n"
    lines = [".".join("b" * parts) + f"{i} = 1\n" for i in range(MAX_CARD_BYTES // MAX_LINE - 2)]
    began = time.process_time()
    with pytest.raises(WorldError):
        Card.from_toml((header + "".join(lines)).encode(), "card")
    assert time.process_time() - began < 20  # 1.5 s alone; minutes without the cap


def test_an_episodes_length_is_read_without_the_rest() -> None:
    card = toy_card()
    assert read_episode(card.to_toml().encode()) == card.episode
    for text in (b"format = 3", b"format = 2", b"format = 2\n[episode]\nmax_steps = 0", b"["):
        with pytest.raises(WorldError):
            read_episode(text)


@given(st.binary(max_size=200))
def test_any_bytes_are_no_card(data: bytes) -> None:
    with pytest.raises(WorldError, match="card"):
        Card.from_toml(data, "card")


def test_few_weights_that_ask_for_much_memory_are_refused() -> None:
    """512 x 512 tokens of two numbers, 64 blocks, 1,024 frames: 2 MB of weights, 260 GiB a row."""
    frames = dataclasses.replace(toy_card().frames, height=512, width=512, observation_scale=1)
    model = dataclasses.replace(toy_card().model, patch=1, dim=2, heads=1, depth=64, window=1024)
    with pytest.raises(WorldError, match=r"model keeps \d+ bytes .* at most 2147483648: a larger"):
        toy_card(frames=frames, model=model)
