"""The page's messages: every kind of them is read, and everything else is refused."""

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
from dfgym.world.settings import Settings

MESSAGES: list[messages.Message] = [
    messages.Act(action=2, input=7),
    messages.Pause(on=True),
    messages.Step(),
    messages.Reset(start=None),
    messages.Reset(start=3),
    messages.Seek(t=0),
    messages.SelectAgent(name=None),
    messages.SelectAgent(name="random"),
    messages.ChangeSettings(Settings(denoising_steps=3, context_mode="clean", context_noise=0.1)),
    messages.SetSpeed(fps=0),
    messages.SetSpeed(fps=12.5),
    messages.ShowReal(on=False),
    messages.Ack(seq=1),
]


KINDS = {
    messages.Act: "act",
    messages.Pause: "pause",
    messages.Step: "step",
    messages.Reset: "reset",
    messages.Seek: "seek",
    messages.SelectAgent: "agent",
    messages.ChangeSettings: "settings",
    messages.SetSpeed: "speed",
    messages.ShowReal: "real",
    messages.Ack: "ack",
}


def text(message: messages.Message) -> str:
    return json.dumps({"do": KINDS[type(message)], **dataclasses.asdict(message)})


@pytest.mark.parametrize("message", MESSAGES, ids=repr)
def test_every_message_is_read(message: messages.Message) -> None:
    assert parse(text(message)) == message


@pytest.mark.parametrize("message", MESSAGES, ids=repr)
def test_keys_are_exactly_the_messages_own(message: messages.Message) -> None:
    table = json.loads(text(message))
    with pytest.raises(ConfigError, match="unknown key 'more'; allowed are"):
        parse(json.dumps(table | {"more": 1}))
    for name in dataclasses.asdict(message):
        with pytest.raises(ConfigError, match=f"missing key '{name}'"):
            parse(json.dumps({key: value for key, value in table.items() if key != name}))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "must be JSON"),
        ("step", "must be JSON"),
        ("[" * 4000, "must be JSON"),
        ('{"do": "seek", "t": NaN}', "NaN is not allowed"),
        ('{"do": "speed", "fps": Infinity}', "Infinity is not allowed"),
        ('{"do": "step", "do": "reset"}', "the key 'do' stands there twice"),
        ('{"do": "seek", "t": 1, "t": 1}', "the key 't' stands there twice"),
        ("[]", "the message is a list of 0; expected an object"),
        ("null", "the message is None; expected an object"),
        ("{}", "do is None; allowed are act, pause"),
        ('{"do": "fly"}', "do is 'fly'; allowed are act, pause"),
        ('{"do": ["act"]}', "do is a list of 1; allowed are act, pause"),
        ('{"do": "pause", "on": 1}', "on is 1; expected bool"),
        ('{"do": "act", "action": true, "input": 0}', "action is True; expected int"),
        ('{"do": "act", "action": 1.0, "input": 0}', "action is 1.0; expected int"),
        ('{"do": "act", "action": 0, "input": 1e400}', "input is inf"),
        (f'{{"do": "seek", "t": {2**60}}}', "t is 1152921504606846976; expected int <="),
        ('{"do": "agent", "name": 3}', "name is 3; expected str | None"),
        ('{"do": "reset", "start": "1"}', "start is '1'; expected int | None"),
        ('{"do": "speed", "fps": -1}', "fps is -1; expected float >= 0"),
        ('{"do": "speed", "fps": 241}', "fps is 241; expected float <= 240"),
        ('{"do": "speed", "fps": 1e999}', "fps is inf; expected a finite number"),
        (
            '{"do": "settings", "settings": {"steps": 3}}',
            "unknown key 'settings.steps'; allowed are",
        ),
        ('{"do": "settings", "settings": {"denoising_steps": true}}', "denoising_steps is True"),
        ('{"do": "settings", "settings": null}', "settings is None; expected"),
    ],
)
def test_what_is_no_message_is_refused_in_words(text: str, error: str) -> None:
    with pytest.raises(ConfigError, match=r"\w+ \w+") as refused:
        parse(text)
    assert error in str(refused.value)
    assert len(str(refused.value)) < 300  # however long the text


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
names = st.sampled_from(["do", "action", "input", "on", "t", "fps", "name", "start", "seq"])
kinds = st.sampled_from(list(KINDS.values()))


@given(
    st.text() | anything.map(json.dumps) | st.dictionaries(names, kinds | anything).map(json.dumps)
)
def test_nothing_else_happens(received: str) -> None:
    """Any text is either a message, which reads the same again, or a ConfigError."""
    try:
        message: Any = parse(received)
    except ConfigError as refused:
        json.dumps(str(refused)).encode()  # it can be sent
    else:
        assert parse(text(message)) == message
