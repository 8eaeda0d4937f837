"""Training laws, targets and weights: what each frame is asked for, and what it may see."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dfgym.diffusion.forcing import Forced, force
from dfgym.diffusion.path import interpolate
from dfgym.diffusion.targets import FUSED_DECAY, TARGETS, WEIGHTS, goal, to_clean, weight
from dfgym.errors import ConfigError, WorldError
from dfgym.model import build
from dfgym.train.config import TrainConfig
from dfgym.train.loss import losses
from dfgym.world import card as card_module
from dfgym.world.card import Frames, Model
from toys.world import toy_card, toy_weights

WINDOW, B, T = 3, 40, 12
FIRST = (torch.arange(5) == 0).expand(3, 5)
"""Where rows of five frames begin, as `targets.weight` asks."""


def forced(law: str, clean_frames: int = 0, seed: int = 0) -> Forced:
    generator = torch.Generator().manual_seed(seed)
    return force(
        torch.randn(B, T, 2, 2, 3, generator=generator),
        torch.zeros(B, T, dtype=torch.int64),
        (torch.arange(T) >= 7).long().expand(B, T),
        window=WINDOW,
        shift=1.0,
        generator=generator,
        law=law,
        clean_frames=clean_frames,
    )


def test_teacher_forcing_differs_in_the_levels_of_the_past_alone() -> None:
    ours, theirs = forced("diffusion_forcing"), forced("teacher_forcing")
    assert (theirs.tau[:, :T] == 1).all() and (ours.tau[:, :T] < 1).any()
    assert torch.equal(ours.tau[:, T:], theirs.tau[:, T:])
    assert torch.equal(ours.frames[:, T:], theirs.frames[:, T:])
    assert torch.equal(ours.mask, theirs.mask)


@pytest.mark.parametrize("clean_frames", [0, 1, WINDOW])
def test_a_full_sequence_shares_one_level_and_sees_its_block(clean_frames: int) -> None:
    found = forced("full_sequence", clean_frames)
    tau, mask = found.tau[:, T:], found.mask[:, T:, T:]
    assert not found.mask[:, T:, :T].any(), "targets see targets only"
    assert torch.equal(mask, mask.transpose(1, 2)), "not causal"
    assert mask.diagonal(0, 1, 2).all()
    assert not mask[:, :7, 7:].any(), "nothing across episodes"
    # Blocks by what sees what, where no episode's end cuts them: the first seven frames.
    sizes = mask[:, :7, :7].sum(2)
    assert sizes.max() == WINDOW + 1 and {*mask[:, 0, :7].sum(1).tolist()} == {1, 2, 3, 4}
    for row in range(B):
        for block in {tuple(line.nonzero().flatten().tolist()) for line in mask[row, :7, :7]}:
            levels = tau[row, list(block)]
            noisy = levels[levels < 1]
            assert not clean_frames or not len(noisy) or (levels == 1).any(), "all can be known"
            assert noisy.unique().numel() <= 1, "one level a block"
            if len(block) == WINDOW + 1:
                assert len(noisy) == WINDOW + 1 - clean_frames
                assert (levels[:clean_frames] == 1).all()
    whole = [m[3, :7].sum() == WINDOW + 1 for m in mask]
    assert tau[whole, 3].unique().numel() > 5, "each block has a level of its own"


def test_pictures_of_a_chunked_model_are_all_learned() -> None:
    generator = torch.Generator().manual_seed(0)
    found = force(
        torch.randn(B, 1, 2, 2, 3, generator=generator),
        torch.zeros(B, 1, dtype=torch.int64),
        torch.zeros(B, 1),
        window=WINDOW,
        shift=1.0,
        generator=generator,
        law="full_sequence",
        clean_frames=WINDOW,
    )
    assert (found.tau[:, 1:] < 1).all()


def example(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    clean = torch.rand(3, 5, 2, 2, 3, generator=generator, dtype=torch.float64) * 2 - 1
    eps = torch.randn(clean.shape, generator=generator, dtype=torch.float64)
    tau = torch.rand(3, 5, generator=generator, dtype=torch.float64) * 0.9 + 0.05
    return clean, eps, tau


@given(st.sampled_from(TARGETS), st.integers(0, 99))
def test_the_clean_frame_comes_back_from_every_target(target: str, seed: int) -> None:
    clean, eps, tau = example(seed)
    noisy = interpolate(clean, eps, tau)
    said = goal(clean, noisy, tau, target)
    expected = {"x": clean, "v": clean - eps, "eps": eps}[target]
    torch.testing.assert_close(said, expected)
    torch.testing.assert_close(to_clean(said, noisy, tau, target), clean)


def test_noise_alone_tells_nothing_of_the_clean_frame_by_eps() -> None:
    noisy, tau = torch.full((1, 1, 1, 1, 3), 3.0), torch.zeros(1, 1)
    assert to_clean(torch.zeros_like(noisy), noisy, tau, "eps").tolist() == [[[[[1.0] * 3]]]]


@pytest.mark.parametrize("target", ["v", "eps"])
@pytest.mark.parametrize("scheme", ["min_snr", "fused_snr"])
def test_a_clean_error_counts_the_same_in_every_space(target: str, scheme: str) -> None:
    clean, eps, tau = example()
    noisy = interpolate(clean, eps, tau)
    past = tau.flip(1)
    wrong = clean + 0.01
    errors = {}
    for space in ("x", target):
        said, true = (goal(frames, noisy, tau, space) for frames in (wrong, clean))
        squared = (said - true).square().sum((2, 3, 4))
        errors[space] = squared * weight(tau, past, FIRST[:3], space, scheme)
    torch.testing.assert_close(errors[target], errors["x"])


def test_weights_of_known_levels() -> None:
    half = torch.full((1, 3), 0.5)  # where the SNR is 1
    past = torch.tensor([[1.0, 0.5, 0.0]])
    assert weight(half, past, FIRST[:1, :3], "v", "uniform").tolist() == [[1, 1, 1]]
    torch.testing.assert_close(
        weight(half, past, FIRST[:1, :3], "x", "ramp"), torch.full((1, 3), 0.55)
    )
    torch.testing.assert_close(weight(half, past, FIRST[:1, :3], "x", "min_snr"), torch.ones(1, 3))
    torch.testing.assert_close(
        weight(half, past, FIRST[:1, :3], "v", "min_snr"), torch.full((1, 3), 0.25)
    )
    torch.testing.assert_close(
        weight(half * 1.9, past, FIRST[:1, :3], "x", "min_snr"), torch.full((1, 3), 5.0)
    )
    begins = torch.tensor([[True, False, True, False]])
    # By hand: nothing before; then a clean frame; then one of SNR 1 after it.
    kept = 1.0
    later = FUSED_DECAY * kept + (1 - FUSED_DECAY) * 0.2
    by_hand = [5 * (1 - (1 - FUSED_DECAY * s) * 0.8) for s in (0.0, kept, later)]
    fused = weight(half, past, FIRST[:1, :3], "x", "fused_snr")
    torch.testing.assert_close(fused, torch.tensor([by_hand]))
    # Another episode's frames are no past: two of two frames, each as if alone.
    two = weight(half[:, :1].expand(1, 4), past[:, [0, 1, 0, 1]], begins, "x", "fused_snr")
    torch.testing.assert_close(two, torch.tensor([by_hand[:2] * 2]))


@given(st.sampled_from(WEIGHTS), st.sampled_from(TARGETS), st.floats(0, 0.999))
def test_weights_are_finite_and_not_negative(scheme: str, target: str, level: float) -> None:
    tau = torch.full((2, 4), level)
    found = weight(tau, torch.ones_like(tau), FIRST[:2, :4], target, scheme)
    assert found.isfinite().all() and (found >= 0).all()


def rgb_network(target: str) -> tuple[torch.nn.Module, Model]:
    model = dataclasses.replace(toy_card().model, target=target)
    card = toy_card(model=model, frames=Frames(8, 8, 1, 15, ()))
    network = build(card)
    network.load_state_dict(toy_weights(card))
    return network, model


def test_given_frames_are_not_learned_and_weights_reach_the_loss() -> None:
    network, _ = rgb_network("v")
    clean = torch.rand(2, 8, 8, 8, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    nothing = torch.zeros(2, 8, dtype=torch.int64)
    rest = (nothing, nothing.bool(), torch.ones(2, 8, dtype=torch.bool))

    def loss(truth: Tensor, clean_frames: int, scheme: str = "uniform") -> float:
        levels = force(
            clean,
            nothing,
            nothing,
            window=WINDOW,
            shift=1.0,
            generator=torch.Generator().manual_seed(3),
            law="full_sequence",
            clean_frames=clean_frames,
        )
        given_frames = (levels.tau[:, 8:] == 1)[..., None, None, None]
        changed = torch.where(given_frames, truth, clean)
        found = losses(
            network, levels, changed, *rest, categorical=False, target="v", scheme=scheme
        )
        return found.frame.item()

    assert loss(clean, WINDOW) == loss(clean + 1, WINDOW) > 0
    assert loss(clean, 0, "ramp") < loss(clean, 0, "uniform")


def config(**changes: object) -> TrainConfig:
    return TrainConfig(data=(Path("data"),), out=Path("run"), **changes)  # type: ignore[arg-type]


def test_bad_choices_are_told() -> None:
    shortcut = Model(dim=16, depth=1, heads=2, patch=2, window=6, shortcut=4)
    latent = Model(dim=16, depth=1, heads=1, patch=2, window=6, kind="recurrent")
    for wrong, words in (
        ({"law": "df"}, "law is 'df'; allowed are diffusion_forcing, teacher_forcing, full_seq"),
        ({"weight": "snr"}, "weight is 'snr'; allowed are uniform, min_snr, fused_snr, ramp"),
        ({"clean_frames": 1}, "clean_frames is 1; with law 'diffusion_forcing'"),
        ({"law": "teacher_forcing", "clean_share": 0.5}, "clean_share is 0.5, .* set it to 0"),
        ({"law": "full_sequence", "clean_frames": 7}, "clean_frames is 7; .* allowed is 0 to 6"),
        ({"law": "full_sequence", "model": shortcut}, "shortcut 4; set it to 0"),
        ({"law": "full_sequence", "weight": "fused_snr"}, "weight is 'fused_snr', .* choose"),
        ({"law": "full_sequence", "model": latent}, "is 'recurrent', which cannot; use"),
    ):
        with pytest.raises(ConfigError, match=words):
            config(**wrong)
    with pytest.raises(WorldError, match=r"model.target = 'y': must be one of x, v, eps"):
        dataclasses.replace(shortcut, target="y")
    with pytest.raises(WorldError, match=r"model.shortcut = .*: needs target 'x' and mixture 1"):
        dataclasses.replace(shortcut, target="v")
    with pytest.raises(WorldError, match=r"must be x where frames.palette has colours"):
        toy_card(model=dataclasses.replace(toy_card().model, target="v"))
    assert card_module.TARGETS == TARGETS
