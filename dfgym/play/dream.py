"""The learned game, which can be brought to any frame of its timeline."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import numpy as np

from dfgym.actions import Row
from dfgym.env.env import DreamEnv
from dfgym.errors import StateError
from dfgym.frames import downscale
from dfgym.play.timeline import KEYFRAME, Moment, Timeline
from dfgym.world.bundle import World
from dfgym.world.recall import recall
from dfgym.world.settings import Settings

NUMBERS = (
    "termination_probability",
    "uncertainty",
    "outcome_entropy",
    "epistemic",
    "luck_divergence",
)
"""What a moment keeps of the environment's info."""


class Dream:
    """A dream of one episode, exactly repeatable while its settings stay.

    Args:
        world: the world.
        path: the world's name, or the path of its folder.
        settings: how the world is run at first.

    Raises:
        ConfigError, DeviceError: a setting is not allowed.
    """

    def __init__(self, world: World, path: str, settings: Settings) -> None:
        self._world, self._path = world, path
        self._scale = world.card.frames.observation_scale
        self._space = world.card.actions
        self._settings = settings
        self._position: int | None = None  # the frame of the timeline that the environment is at
        self._seed = 0
        self.env = DreamEnv(path, **asdict(settings))

    def begin(self, seed: int) -> None:
        """Turn to a new timeline, whose noise follows from this seed."""
        self._position, self._seed = None, seed

    def seek(self, timeline: Timeline, settings: Settings) -> None:
        """Bring the environment to the current frame, which must be the newest.

        From a state of the same settings it comes there exactly. Under other settings, or after a
        change of them whose state was dropped, it begins anew from the last frames, as at a start.

        Raises:
            StateError: stepped from a state to that frame, the dream showed another one.
        """
        t = timeline.cursor
        if t == self._position and settings == self._settings:
            return
        if settings != self._settings:
            self.env = DreamEnv(self._path, **asdict(settings))
            self._settings = settings
        first, state = 0, None
        keyframe = timeline.last_keyframe()
        if keyframe is not None and keyframe[1].settings == settings:
            first, state = keyframe[0], keyframe[1].state
        if state is not None:
            self._replay(timeline, first, state)
        else:
            frames, actions = timeline.context(self._world.card.model.history)
            # Another seed at each t, but always the same: settings are compared on equal noise.
            seed = np.random.SeedSequence([self._seed, t]).generate_state(1)[0]
            options = {"frames": frames, "actions": self._space.native(actions)}
            self.env.reset(seed=int(seed), options=options)
            timeline.add_keyframe(settings, self.env.clone_state())
        self._position = t

    def step(self, timeline: Timeline, action: Row, by: str) -> Moment:
        """Dream the next frame; the caller appends it to the timeline.

        Args:
            timeline: a timeline whose current frame the environment is at.
            action: the action, as a row.
            by: who chose the action.
        """
        assert self._position == timeline.cursor
        start = time.perf_counter()
        observation, reward, terminated, _, info = self.env.step(self._space.native(action))
        ms = (time.perf_counter() - start) * 1000
        self._position = t = timeline.cursor + 1
        numbers: dict[str, Any] = {name: float(info[name]) for name in NUMBERS if name in info}
        return Moment(
            frame=downscale(observation, self._scale),
            action=action,
            by=by,
            reward=reward,
            score=timeline.current.score + reward,
            terminated=terminated,
            # The environment's own count began at the last change of settings.
            truncated=not terminated and t >= self._world.card.episode.max_steps,
            ms=ms,
            **self._recall(t),
            **numbers,
        )

    def _recall(self, t: int) -> dict[str, Any]:
        """Return what the memory says of frame t, as a moment has it."""
        ages, picture = recall(self.env.dynamics)
        if ages is not None:
            steps = dict.fromkeys(t - age for age in ages[0].tolist() if age)
            return {"recalled": tuple(step for step in steps if step >= 0)}
        if picture is not None:
            return {"map": ((picture[0].clamp(-1, 1) + 1) * 127.5).byte().cpu().numpy()}
        return {}

    def add_keyframe(self, timeline: Timeline) -> None:
        """Store the state at the newest frame, if a keyframe is due there."""
        if timeline.length % KEYFRAME == 0:
            timeline.add_keyframe(self._settings, self.env.clone_state())

    def close(self) -> None:
        """Release the model."""
        self.env.close()

    def _replay(self, timeline: Timeline, t: int, state: bytes) -> None:
        observation = self.env.restore_state(state)
        for action in timeline.actions[t : timeline.cursor]:
            observation, *_ = self.env.step(self._space.native(action))
        if not np.array_equal(downscale(observation, self._scale), timeline.current.frame):
            raise StateError(
                f"the dream, played again from frame {t}, did not come to frame "
                f"{timeline.cursor} as it was: this device does not repeat its arithmetic; begin "
                "a new episode"
            )
