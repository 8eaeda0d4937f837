"""The recurrent model: scanned equals stepped, the past stays the past, and worlds run on it."""

from __future__ import annotations

import copy
import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from torch import Tensor

from dfgym.diffusion.context import CONTEXT_MODES, NOISELESS_MODES
from dfgym.diffusion.corrupt import NoisedSequences, corrupt
from dfgym.diffusion.draws import Draws
from dfgym.env.env import DreamEnv
from dfgym.env.vector import DreamVectorEnv
from dfgym.errors import ConfigError
from dfgym.model.config import ModelConfig
from dfgym.model.network import build
from dfgym.model.recurrent import Recurrent
from dfgym.model.transformer import NetworkOutput
from dfgym.train.batches import Batch
from dfgym.train.config import TrainConfig
from dfgym.train.loop import train
from dfgym.train.loss import compute_losses
from dfgym.train.observe import LOG_FILE
from dfgym.train.pack import pack
from dfgym.world import bundle
from dfgym.world.card import Episode, Sampler
from dfgym.world.dynamics import Dynamics
from dfgym.world.settings import Settings
from toys import walk as toy_walk
from toys.replay import play, play_batch
from toys.world import tensors, toy_card, toy_starts, toy_weights

SIZES = ModelConfig(dim=16, depth=2, heads=1, patch=2, window=4, kind="recurrent")
CARD = toy_card(model=SIZES)


@pytest.fixture(scope="module")
def network() -> Recurrent:
    built = build(CARD.model, CARD.game_spec)
    built.load_state_dict(toy_weights(CARD))
    assert isinstance(built, Recurrent)
    return built.eval()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shelf") / "toy-recurrent-v0"
    card = dataclasses.replace(CARD, name="toy-recurrent-v0", episode=Episode(max_steps=20))
    bundle.write(path, card, toy_weights(card), toy_starts(card))
    return path


def noised(segment: Tensor, seed: int = 0) -> NoisedSequences:
    """Sequences of random frames, each copy at a level of its own."""
    generator = torch.Generator().manual_seed(seed)
    b, t = segment.shape
    clean = torch.randn(b, t, 8, 8, 3, generator=generator)
    actions = torch.randint(0, 4, (b, t), generator=generator)
    return corrupt(clean, actions, segment, Draws([seed]), window=4)


@torch.no_grad()
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_a_scan_equals_denoising_passes_and_commits(depth: int) -> None:
    """In one of the rows the episode ends midway, which is a new past for `step`."""
    card = dataclasses.replace(CARD, model=dataclasses.replace(SIZES, depth=depth))
    network: Any = build(card.model, card.game_spec)
    network.load_state_dict(toy_weights(card))
    border, t = 4, 9
    segment = torch.zeros(2, t)
    segment[1, border:] = 1
    inputs = noised(segment)
    frames, tau, actions = inputs.frames, inputs.tau, inputs.actions
    whole = network(*inputs)
    for row in range(2):
        cache: Any = network.empty_cache(1)
        for i in range(t):
            time = i - border if row and i >= border else i
            position: Any = network.cache_position(torch.tensor([time]))
            for other in (5, t + i, i):  # a pass that leaves nothing, the target, the commit
                conditioning = network.conditioning(float(tau[row, other]))
                tokens = network.step(
                    frames[row, other][None],
                    conditioning,
                    actions[row, i][None],
                    position,
                    cache,
                )
                one = (*network.predict_frame(tokens)[:2], *network.predict_transition(tokens))
                for expected, tensor in zip(tensors(whole), one, strict=True):
                    if other != 5:
                        torch.testing.assert_close(
                            expected[row, other], tensor[0], rtol=0, atol=3e-5
                        )


@torch.no_grad()
def test_a_pass_without_a_commit_keeps_the_latent_of_the_noisy_frame(network: Recurrent) -> None:
    """Told of the context copies' levels alone, passes over noisy frames are a scan over them."""
    inputs = noised(torch.zeros(1, 5))
    whole = network(*inputs)
    cache = network.empty_cache(1)
    for i in range(5):
        for frame in (torch.full((1, 8, 8, 3), 9.0), inputs.frames[:, i]):
            conditioning = network.conditioning(float(inputs.tau[0, i]))
            position = network.cache_position(torch.tensor([i]))
            tokens = network.step(frame, conditioning, inputs.actions[:, i], position, cache)
        scores = network.predict_frame(tokens).scores
        torch.testing.assert_close(whole.prediction.scores[:, i], scores, rtol=0, atol=3e-5)


def scores_of(output: NetworkOutput) -> Tensor:
    return output.prediction.scores


@torch.no_grad()
def test_what_a_frame_depends_on(network: Recurrent) -> None:
    """A latent remembers more than a window of 4; nothing crosses an episode's border."""
    t, border = 9, 6
    before = noised((torch.arange(t) >= border).long()[None])
    base = network(*before)
    for changed in range(2 * t):
        frames = before.frames.clone()
        frames[:, changed] += 1
        after = network(*before._replace(frames=frames))
        differs = (scores_of(base) != scores_of(after)).flatten(2).any(2)[0].tolist()
        mine = range(border, t) if changed % t >= border else range(border)
        expected = {changed}
        if changed < t:  # a context copy: its successors, twice
            expected |= {i + copy for i in mine if i > changed for copy in (0, t)}
        assert {i for i in range(2 * t) if differs[i]} == expected
    after = network(*before._replace(tau=before.tau + 0.1))
    assert (scores_of(base) != scores_of(after)).flatten(2).any(2).all()
    again = network(*before._replace(actions=(before.actions + 1) % 4))
    assert (base.reward != again.reward).any(2).all()
    assert (scores_of(base) != scores_of(again)).any()


@torch.inference_mode()
def test_the_latent_stays_alive_and_within_bounds(network: Recurrent) -> None:
    generator = torch.Generator().manual_seed(0)
    cache = network.empty_cache(1)
    conditioning = network.conditioning(1.0)
    for time in range(5000):
        frame = torch.rand(1, 8, 8, 3, generator=generator) * 2 - 1
        action = torch.randint(0, 3, (1,), generator=generator)
        tokens = network.step(
            frame, conditioning, action, network.cache_position(torch.tensor([time])), cache
        )
    (latents,) = cache[0]
    assert latents.abs().max() <= 1 and 0.1 < (latents[:, 0] - latents[:, 1]).std()
    last = (*network.predict_frame(tokens)[:2], *network.predict_transition(tokens))
    assert all(tensor.isfinite().all() for tensor in last)


def test_every_weight_is_learned() -> None:
    network = build(CARD.model, CARD.game_spec)
    network.load_state_dict(toy_weights(CARD))
    clean = torch.nn.functional.one_hot(torch.randint(0, 3, (2, 5, 8, 8)), 3) * 2.0 - 1
    inputs = noised(torch.zeros(2, 5))._replace(tau=torch.full((2, 10), 0.9))
    nothing, ones = torch.zeros(2, 5, dtype=torch.int64), torch.ones(2, 5, dtype=torch.bool)
    batch = Batch(0, "videos", clean, nothing, nothing, nothing, ~ones, ones)
    compute_losses(network, inputs, batch).total.backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


# --- As a world ----------------------------------------------------------------------------------


def test_the_checker_finds_nothing(world: Path) -> None:
    check_env(gym.make("dfgym:DFWorld-v0", world=str(world)).unwrapped)


@pytest.mark.parametrize("mode", CONTEXT_MODES)
def test_states_and_copies_continue_bitwise_in_every_context_mode(world: Path, mode: str) -> None:
    keywords: dict[str, Any] = {
        "denoising_steps": 4,
        "context_mode": mode,
    }  # as many as `kept` needs
    if mode not in NOISELESS_MODES:
        keywords["context_noise"] = 0.2
    env = DreamEnv(world, **keywords)
    env.reset(seed=3)
    play(env, 7)
    state = env.clone_state()
    twin, other = copy.deepcopy(env), DreamEnv(world, **keywords)
    other.restore_state(state)
    assert other.clone_state() == twin.clone_state() == state
    assert play(env, 30) == play(twin, 30) == play(other, 30)  # past the card's 20 steps


@torch.inference_mode()
@pytest.mark.parametrize("kind", ["recurrent", "transformer"])
def test_what_is_out_of_sight_is_neither_read_nor_saved(
    world: Path, random_world: Path, kind: str
) -> None:
    loaded = bundle.load(world if kind == "recurrent" else random_world)
    used, fresh = (Dynamics(loaded, 2, Settings("cpu")) for _ in range(2))
    rows = np.arange(2)
    for run in (used, fresh):
        run.reset(rows, rows, [(loaded.starts.frames[:1], loaded.starts.actions[:0])] * 2)
    for tensor in (tensor for cache in used._caches for layer in cache for tensor in layer):
        tensor[:, 1:] = -1  # slots of frames there never were
    for _ in range(6):
        one, two = used.get_state(rows), fresh.get_state(rows)
        assert all(one[name].tobytes() == two[name].tobytes() for name in one)
        for run in (used, fresh):
            run.step(rows)


def test_rows_do_not_depend_on_each_other_nor_on_how_long_others_starts_are(world: Path) -> None:
    loaded = bundle.load(world)
    frames, actions = loaded.starts.frames, loaded.starts.actions

    def film(lengths: tuple[int, ...], others: int) -> list[bytes]:
        run = Dynamics(loaded, 3, Settings("cpu"))
        rows = np.arange(3)
        contexts = [(frames[:n], actions[: n - 1]) for n in lengths]
        run.reset(rows, np.array([5, others, others + 1]), contexts)
        transitions = []
        for step in range(12):
            transitions.append(
                run.step(np.array([step % 3, others % 3, step % 2])).frames[0].tobytes()
            )
        return transitions

    assert film((2, 2, 2), 0) == film((2, 4, 1), 1) == film((2, 3, 4), 2)
    assert film((2, 2, 2), 0) != film((3, 2, 2), 0)


def test_a_batch_replays_and_follows_its_actions(world: Path) -> None:
    env, twin = (DreamVectorEnv(3, world=world) for _ in range(2))
    for e in (env, twin):
        e.reset(seed=0)
    play_batch(env, 7)
    state = env.clone_state()
    twin.restore_state(state)
    assert twin.clone_state() == state
    first = env.step(np.zeros(3, np.int64))[0]
    assert np.array_equal(first, twin.step(np.zeros(3, np.int64))[0])
    twin.restore_state(state)
    assert not np.array_equal(first, twin.step(np.ones(3, np.int64))[0])


@pytest.mark.slow
def test_it_learns_the_toy_and_the_world_obeys(tmp_path: Path) -> None:
    config = TrainConfig(
        data=(toy_walk.record(tmp_path / "walk"),),
        out=tmp_path / "run",
        steps=200,
        image_steps=10,
        batch=16,
        learning_rate=2e-2,
        muon_rate=6e-2,
        length=6,
        warmup=0.01,
        precision="float32",
        strip_every=0,
        model=dataclasses.replace(SIZES, window=3),
        sampler=Sampler(denoising_steps=2, shift=1.0, context_mode="clean", context_noise=0.0),
    )
    log = [json.loads(line) for line in (train(config) / LOG_FILE).read_text().splitlines()]
    assert log[-1]["frame"] < 0.25 * log[15]["frame"]
    world = bundle.load(pack(config.out, tmp_path / "toy-walk-v0", "toy-walk-v0"))
    rows, right = np.arange(16), np.zeros(16, bool)
    dream = Dynamics(world, 16, Settings("cpu"))
    dream.reset(rows, rows, [(toy_walk.draw(1)[None], np.zeros(0, np.int64))] * 16)
    for place in (2, 3, 4):
        transitions = dream.step(np.ones(16, np.int64))
        right = (transitions.frames == toy_walk.draw(place)).all((1, 2, 3))
        assert right.mean() > 0.8 and transitions.terminated.mean() < 0.3
    transitions = dream.step(np.ones(16, np.int64))
    assert transitions.rewards[right].mean() > 0.7 and transitions.terminated[right].mean() > 0.7


def test_attention_heads_are_refused() -> None:
    with pytest.raises(ConfigError, match="heads is 2; expected 1"):
        dataclasses.replace(SIZES, heads=2)


def test_the_first_environment_does_not_wait_for_the_compiler(world: Path) -> None:
    """Neither this network's nor the transformer's, which the default world has."""
    script = """if True:
        import sys, gymnasium, dfgym
        for keywords in {}, {"world": sys.argv[1]}:
            env = gymnasium.make("DFWorld-v0", **keywords)
            env.reset(seed=0)
            env.step(0)
            assert "torch._dynamo" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", script, str(world)], check=True)
