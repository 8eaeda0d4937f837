"""What the page is told of a session: its greeting, its state, its frames."""

from __future__ import annotations

import base64
import importlib.util
import json
from dataclasses import asdict
from typing import Any

from dfgym.play.session import Session
from dfgym.world.card import CONTEXT_MODES
from dfgym.world.sampling import MAX_DENOISING_STEPS


def hello(session: Session, name: str) -> dict[str, Any]:
    """All that does not change: the world, its actions, starts and agents.

    Args:
        session: the game.
        name: by which the page asks for its recordings.
    """
    card = session.world.card
    keys: list[list[str]] = [[] for _ in range(card.actions.n)]
    for key, action in card.actions.keys.items():
        keys[action].append(key)
    return {
        "type": "hello",
        "session": name,
        "world": {
            "name": card.name,
            "description": card.description,
            "source": card.source.env,
            "licence": card.source.licence,
        },
        "frame": {"height": card.frames.height, "width": card.frames.width},
        "fps": card.frames.fps,
        "actions": [
            {"name": meaning, "keys": own}
            for meaning, own in zip(card.actions.meanings, keys, strict=True)
        ],
        "no_key": session.no_key,
        "settings": asdict(session.settings),
        "context_modes": list(CONTEXT_MODES),
        "max_denoising_steps": MAX_DENOISING_STEPS,
        "max_steps": card.episode.max_steps,
        "agents": list(session.agents),
        "agent": session.agent,
        "real": {
            "available": session.has_real,
            "on": session.real_on,
            "why": session.why,
        },
        "starts": [
            {"index": index, "frame": frame, "pixels": _pixels(session, episode, frame)}
            for index, (episode, frame) in enumerate(session.starts)
        ],
        "video": importlib.util.find_spec("imageio_ffmpeg") is not None,
        "device": session.device,
    }


def state(session: Session) -> dict[str, Any]:
    """What the controls stand at, to be told after the frame that is shown with it.

    `speaks_real`: that frame carries the real game's.
    """
    return {
        "type": "state",
        "paused": session.paused,
        "agent": session.agent,
        "speed": session.speed,
        "settings": asdict(session.settings),
        "real_on": session.real_on,
        "speaks_real": session.beside,
    }


def frame(session: Session, seq: int, preview: bool = False) -> bytes:
    """The shown frame: the length of a JSON header (uint32, little endian), the header, pixels.

    Args:
        session: the game.
        seq: the page acknowledges the frame by it.
        preview: whether the frame was looked up, not played.

    Returns:
        After the header uint8 `(h, w, 3)` of the dream and, if `real` is not null, of the real
        game.
    """
    timeline = session.timeline
    moment = timeline.now
    real = moment.real if session.beside else None
    header: dict[str, Any] = {
        "seq": seq,
        "t": timeline.cursor,
        "length": timeline.length,
        "episode": session.episode,
        "action": moment.action,
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
        "real": None,
    }
    pixels = moment.frame.tobytes()
    if real is not None:
        numbers = ("reward", "score", "terminated", "difference", "diverged")
        header["real"] = {name: getattr(real, name) for name in numbers}
        pixels += real.frame.tobytes()
    text = json.dumps(header, separators=(",", ":")).encode()
    return len(text).to_bytes(4, "little") + text + pixels


def _pixels(session: Session, episode: int, frame: int) -> str:
    return base64.b64encode(session.world.starts.episode(episode)[0][frame].tobytes()).decode()
