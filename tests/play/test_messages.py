"""What the page may say: every kind of message, and everything that is none."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfgym.errors import ConfigError
from dfgym.play import messages
from dfgym.play.messages import parse

EACH: list[messages.Message] = [
    messages.Act(action=2, input=7),
    messages.Pause(on=True),
    messages.Step(),
    messages.Reset(start=None),
    messages.Reset(start=3),
    messages.Seek(t=0),
    messages.Agent(name=None),
    messages.Agent(name="random"),
    messages.Settings(denoising_steps=3, context_mode="clean", context_noise=0.1),
    messages.Speed(fps=0),
    messages.Speed(fps=12.5),
    messages.Real(on=False),
    messages.Ack(seq=1),
]


def text(message: messages.Message) -> str:
    return json.dumps({"do": type(message).__name__.lower(), **dataclasses.asdict(message)})


@pytest.mark.parametrize("message", EACH, ids=repr)
def test_every_message_is_read(message: messages.Message) -> None:
    assert parse(text(message)) == message


@pytest.mark.parametrize("message", EACH, ids=repr)
def test_keys_are_exactly_the_messages_own(message: messages.Message) -> None:
    table = json.loads(text(message))
    with pytest.raises(ConfigError, match="has the keys do"):
        parse(json.dumps(table | {"more": 1}))
    for name in dataclasses.asdict(message):
        with pytest.raises(ConfigError, match="has the keys do"):
            parse(json.dumps({key: value for key, value in table.items() if key != name}))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("", "must be JSON"),
        ("step", "must be JSON"),
        ("[" * 4000, "must be JSON"),
        ('{"do": "seek", "t": NaN}', "NaN is not allowed"),
        ('{"do": "speed", "fps": Infinity}', "Infinity is not allowed"),
        ('{"do": "step", "do": "reset"}', "the key 'do' stands there twice"),
        ('{"do": "seek", "t": 1, "t": 1}', "the key 't' stands there twice"),
        ("[]", "must be an object"),
        ("null", "must be an object"),
        ("{}", "do is None; it must be one of act"),
        ('{"do": "fly"}', "do is 'fly'; it must be one of act"),
        ('{"do": ["act"]}', "must be one of act"),
        ('{"do": "pause", "on": 1}', "on is 1; it must be true or false"),
        ('{"do": "act", "action": true, "input": 0}', "action is True; it must be a whole number"),
        ('{"do": "act", "action": 1.0, "input": 0}', "action is 1.0; it must be a whole number"),
        ('{"do": "act", "action": 0, "input": 1e400}', "input is inf"),
        (f'{{"do": "seek", "t": {2**60}}}', "it must be a whole number"),
        ('{"do": "agent", "name": 3}', "name is 3; it must be a text or null"),
        ('{"do": "reset", "start": "1"}', "start is '1'; it must be a whole number or null"),
        ('{"do": "speed", "fps": -1}', "fps is -1; allowed is 0"),
        ('{"do": "speed", "fps": 241}', "fps is 241; allowed is 0"),
        ('{"do": "speed", "fps": 1e999}', "fps is inf; it must be a finite number"),
    ],
)
def test_what_is_no_message_is_refused_in_words(said: str, told: str) -> None:
    with pytest.raises(ConfigError, match=r"\w+ \w+") as refused:
        parse(said)
    assert told in str(refused.value)
    assert len(str(refused.value)) < 300  # however long what was said


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
names = st.sampled_from(["do", "action", "input", "on", "t", "fps", "name", "start", "seq"])
kinds = st.sampled_from([type(message).__name__.lower() for message in EACH])


@given(
    st.text() | anything.map(json.dumps) | st.dictionaries(names, kinds | anything).map(json.dumps)
)
def test_nothing_else_happens(said: str) -> None:
    """Whatever comes, it is a message that reads the same again or a ConfigError."""
    try:
        message: Any = parse(said)
    except ConfigError as refused:
        json.dumps(str(refused)).encode()  # it can be told
    else:
        assert parse(text(message)) == message
