"""The learned game, which can be brought to any frame of its timeline."""

from __future__ import annotations

import time
from dataclasses import asdict

import numpy as np

from dfgym.env.env import DreamEnv
from dfgym.errors import StateError
from dfgym.frames import downscale
from dfgym.play.messages import Settings
from dfgym.play.timeline import KEYFRAME, Moment, Timeline
from dfgym.world.bundle import World


class Dream:
    """A dream of one episode, exactly repeatable while its settings stay.

    Args:
        world: the world.
        where: its name, or the path of its folder.
        device: a torch device, or "auto".
        settings: to begin with.

    Raises:
        ConfigError, DeviceError: an argument is not allowed.
    """

    def __init__(self, world: World, where: str, device: str, settings: Settings) -> None:
        self._world, self._where, self._device = world, where, device
        self._scale = world.card.frames.observation_scale
        self._settings = settings
        self._at: int | None = None  # the frame of the timeline that it stands at
        self._seed = 0
        self.env = DreamEnv(where, device, **asdict(settings))

    def begin(self, seed: int) -> None:
        """Turn to a new timeline, whose noise follows from this seed."""
        self._at, self._seed = None, seed

    def stand(self, timeline: Timeline, settings: Settings) -> None:
        """Come to the shown frame, which is the newest.

        From a state of the same settings it comes there exactly; under other settings, or after a
        change of them that is so many changes ago that its state is gone, it begins anew from the
        last frames, as it does at a start.

        Raises:
            StateError: stepped from a state to that frame, it showed another one.
        """
        t = timeline.cursor
        if t == self._at and settings == self._settings:
            return
        if settings != self._settings:
            self.env = DreamEnv(self._where, self._device, **asdict(settings))
            self._settings = settings
        found = timeline.keyframe()
        t_found, state = 0, None
        if found is not None and found[1].settings == settings:
            t_found, state = found[0], found[1].state
        if state is not None:
            self._replay(timeline, t_found, state)
        else:
            frames, actions = timeline.context(self._world.card.model.window)
            # Another seed at each t, but always the same: settings are compared on equal noise.
            seed = np.random.SeedSequence([self._seed, t]).generate_state(1)[0]
            self.env.reset(seed=int(seed), options={"frames": frames, "actions": actions})
            timeline.keep(settings, self.env.clone_state())
        self._at = t

    def step(self, timeline: Timeline, action: int, by: str) -> Moment:
        """Dream the next frame; it is for the caller to append it.

        Args:
            timeline: at whose shown frame it stands.
            action: from 0.
            by: whose action it is.
        """
        assert self._at == timeline.cursor
        began = time.perf_counter()
        observation, reward, terminated, _, info = self.env.step(action)
        ms = (time.perf_counter() - began) * 1000
        self._at = t = timeline.cursor + 1
        return Moment(
            frame=downscale(observation, self._scale),
            action=action,
            by=by,
            reward=reward,
            score=timeline.now.score + reward,
            terminated=terminated,
            # The environment's own count began at the last change of settings.
            truncated=not terminated and t >= self._world.card.episode.max_steps,
            ms=ms,
            **info,
        )

    def keep(self, timeline: Timeline) -> None:
        """Keep the state at the newest frame, if it is time to."""
        if timeline.length % KEYFRAME == 0:
            timeline.keep(self._settings, self.env.clone_state())

    def close(self) -> None:
        """Let go of the model."""
        self.env.close()

    def _replay(self, timeline: Timeline, t: int, state: bytes) -> None:
        observation = self.env.restore_state(state)
        for action in timeline.actions[t : timeline.cursor]:
            observation, *_ = self.env.step(action)
        if not np.array_equal(downscale(observation, self._scale), timeline.now.frame):
            raise StateError(
                f"the dream, played again from frame {t}, did not come to frame "
                f"{timeline.cursor} as it was: this device does not repeat its arithmetic; begin "
                "a new episode"
            )
