"""The messages that the page receives: its greeting, the state of the controls, and frames."""

from __future__ import annotations

import base64
import importlib.util
import json
from dataclasses import asdict
from typing import Any

import numpy as np

from dfgym.actions import Row
from dfgym.diffusion.context import CONTEXT_MODES
from dfgym.play.session import Session
from dfgym.play.timeline import Moment
from dfgym.world.card import Actions, Card
from dfgym.world.settings import MAX_DENOISING_STEPS


def hello(session: Session, name: str) -> dict[str, Any]:
    """Return all that does not change: the world, its actions, starts and agents.

    Args:
        session: the game.
        name: the name by which the page requests its recordings.
    """
    card = session.world.card
    return {
        "type": "hello",
        "session": name,
        **describe_world(card),
        "settings": asdict(session.settings),
        "context_modes": list(CONTEXT_MODES),
        "max_denoising_steps": MAX_DENOISING_STEPS,
        "agents": list(session.agents),
        "agent": session.agent,
        "real": {
            "available": session.real_available,
            "on": session.real_on,
            "note": session.real_note,
        },
        "starts": [
            {"index": index, "frame": frame, "pixels": _pixels(session, episode, frame)}
            for index, (episode, frame) in enumerate(session.starts)
        ],
        "video": importlib.util.find_spec("imageio_ffmpeg") is not None,
    }


def describe_world(card: Card) -> dict[str, Any]:
    """Return the part of the greeting that is the world's alone."""
    return {
        "world": {
            "name": card.name,
            "description": card.description,
            "source": card.source.env,
            "licence": card.source.licence,
        },
        "frame": {"height": card.frames.height, "width": card.frames.width},
        "fps": card.frames.fps,
        **_controls(card.actions),
        "idle_action": _plain(card.actions.idle),
        "max_steps": card.episode.max_steps,
    }


def state(session: Session) -> dict[str, Any]:
    """Return the state of the controls, to be sent after the frame that it belongs to.

    `beside` says whether that frame carries the real game's.
    """
    return {
        "type": "state",
        "paused": session.paused,
        "agent": session.agent,
        "speed": session.speed,
        "settings": asdict(session.settings),
        "real_on": session.real_on,
        "beside": session.beside,
    }


def frame(session: Session, seq: int, preview: bool = False) -> bytes:
    """Encode the current frame: a JSON header's length (uint32, little endian), it, and pixels.

    Args:
        session: the game.
        seq: the number by which the page acknowledges the frame.
        preview: whether the player moved to the frame, and did not play to it.

    Returns:
        After the header follow uint8 `(h, w, 3)` of the dream and, if `real` is not null, of the
        real game.
    """
    timeline = session.timeline
    moment = timeline.current
    real = moment.real if session.beside else None
    header: dict[str, Any] = {
        "seq": seq,
        "t": timeline.cursor,
        "length": timeline.length,
        "episode": session.episode,
        "action": _plain(moment.action),
        "reward": moment.reward,
        "score": moment.score,
        "terminated": moment.terminated,
        "truncated": moment.truncated,
        "termination_probability": moment.termination_probability,
        "uncertainty": moment.uncertainty,
        "ms": round(moment.ms, 3),
        "input": session.input,
        "branch": timeline.branches,
        "preview": preview,
        "memory": _memory(moment),
        "real": None,
    }
    pixels = moment.frame.tobytes()
    if real is not None:
        numbers = ("reward", "score", "terminated", "difference", "diverged")
        header["real"] = {name: getattr(real, name) for name in numbers}
        pixels += real.frame.tobytes()
    text = json.dumps(header, separators=(",", ":")).encode()
    return len(text).to_bytes(4, "little") + text + pixels


def _memory(moment: Moment) -> dict[str, Any] | None:
    """Return what the memory held at a moment: steps, or the pixels of a map; None for neither."""
    if moment.recalled is not None:
        return {"frames": list(moment.recalled)}
    if moment.map is not None:
        pixels = base64.b64encode(moment.map.tobytes()).decode()
        return {"side": len(moment.map), "pixels": pixels}
    return None


def _controls(actions: Actions) -> dict[str, Any]:
    """Return the page's buttons with their keys and, where actions have parts, the parts.

    A discrete action has a button, whose place is the action; of others each entry of the card's
    keys has one, which sets parts while it is held.
    """
    if actions.is_discrete:
        keys: list[list[str]] = [[] for _ in range(actions.count)]
        for key, action in actions.keys.items():
            keys[actions.press(action)].append(key)
        pairs = zip(actions.meanings, keys, strict=True)
        return {"actions": [{"name": name, "keys": keys} for name, keys in pairs], "parts": None}
    names = actions.part_names
    buttons = [
        {
            "name": ", ".join(f"{name} {value:g}" for name, value in entry.items()),
            "keys": [key],
            "sets": {names.index(name): value for name, value in entry.items()},
        }
        for key, entry in actions.keys.items()
        if isinstance(entry, dict)
    ]
    parts = [
        {"name": name, "n": item.n, "low": item.low, "high": item.high}
        for name, item in zip(names, actions.parts, strict=True)
    ]
    return {"actions": buttons, "parts": parts}


def _plain(action: Row | None) -> int | list[float] | None:
    return action.tolist() if isinstance(action, np.ndarray | np.integer) else action


def _pixels(session: Session, episode: int, frame: int) -> str:
    return base64.b64encode(session.world.starts.episode(episode)[0][frame].tobytes()).decode()
