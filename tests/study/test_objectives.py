"""The rivals of diffusion forcing: what each frame is asked for, and what it may see."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dfgym.diffusion.corrupt import NoisedSequences
from dfgym.diffusion.draws import Draws
from dfgym.diffusion.path import interpolate
from dfgym.errors import ConfigError
from dfgym.model.config import ModelConfig
from dfgym.model.network import build
from dfgym.study.methods.objectives import Method
from dfgym.study.methods.targets import (
    FUSED_DECAY,
    TARGETS,
    WEIGHTS,
    error_weight,
    predict_clean,
    regression_target,
)
from dfgym.train.batches import Batch, Stage
from dfgym.train.config import TrainConfig
from dfgym.train.loss import diffusion_forcing
from dfgym.world.card import Frames
from toys.world import toy_card, toy_weights

WINDOW, B, T = 3, 40, 12
FIRST = (torch.arange(5) == 0).expand(3, 5)
"""Where rows of five frames begin, as `targets.error_weight` asks."""


CONFIG = TrainConfig(
    data=(Path("data"),),
    out=Path("run"),
    model=ModelConfig(dim=16, depth=1, heads=2, patch=2, window=WINDOW),
)


def make_batch(clean: Tensor, segment: Tensor, stage: Stage = "videos", **values: Any) -> Batch:
    """Frames to which no action led in the first column, whose rewards are all known."""
    nothing = torch.zeros(clean.shape[:2], dtype=torch.int64)
    is_valid = torch.ones_like(nothing, dtype=torch.bool)
    batch = Batch(600, stage, clean, nothing, segment, nothing, nothing.bool(), is_valid)
    return batch._replace(**values)


def noise(batch: Batch, seed: int = 0, **choices: Any) -> NoisedSequences:
    return Method(**choices).objective().corrupt(batch, CONFIG, Draws([seed]))


def noised(corruption: str, clean_frames: int = 0) -> NoisedSequences:
    clean = torch.randn(B, T, 2, 2, 3, generator=torch.Generator().manual_seed(0))
    batch = make_batch(clean, (torch.arange(T) >= 7).long().expand(B, T))
    return noise(batch, corruption=corruption, clean_frames=clean_frames)


def test_the_default_method_is_the_products_objective() -> None:
    clean = torch.randn(B, T, 2, 2, 3, generator=torch.Generator().manual_seed(0))
    batch = make_batch(clean, torch.zeros(B, T))
    expected = diffusion_forcing.corrupt(batch, CONFIG, Draws([0]))
    assert all(torch.equal(a, b) for a, b in zip(noise(batch), expected, strict=True))
    assert Method().objective().name == diffusion_forcing.name
    network, colours = (
        build(toy_card().model, toy_card().game_spec),
        torch.randint(0, 3, (2, 5, 8, 8)),
    )
    clean = torch.nn.functional.one_hot(colours) * 2.0 - 1
    for stage, is_valid in (("images", False), ("videos", True)):
        valid = torch.full((2, 5), is_valid)
        batch = make_batch(clean, torch.zeros(2, 5), stage, valid=valid)  # type: ignore[arg-type]
        inputs = noise(batch)
        ours, plain = (
            objective.loss(network, inputs, batch, network)
            for objective in (diffusion_forcing, Method().objective())
        )
        assert all(torch.equal(a, b) for a, b in zip(ours, plain, strict=True))


def test_pictures_among_videos_stand_alone() -> None:
    clean = torch.randn(10, 4, 2, 2, 3, generator=torch.Generator().manual_seed(0))
    actions = torch.tensor([2, 0, 1, 0]).expand(10, 4)
    batch = make_batch(clean, torch.zeros(10, 4), actions=actions)
    result = noise(batch, image_share=0.3)
    films, pictures = result.mask[:7], result.mask[7:]
    assert films[:, :4, :4].sum() > 7 * 4
    assert torch.equal(pictures[:, :4, :4], torch.eye(4).bool().expand(3, 4, 4))
    assert not pictures[:, 4:, :4].any(), "no picture has a past"
    assert (result.actions[7:] == 2).all() and torch.equal(result.actions[:7, :4], actions[:7])
    stage: Stage = "images"
    assert not (noise(batch._replace(stage=stage), image_share=0.3).actions == 2).all()


def test_teacher_forcing_differs_in_the_levels_of_the_past_alone() -> None:
    ours, theirs = noised("diffusion_forcing"), noised("teacher_forcing")
    assert (theirs.tau[:, :T] == 1).all() and (ours.tau[:, :T] < 1).any()
    assert torch.equal(ours.tau[:, T:], theirs.tau[:, T:])
    assert torch.equal(ours.frames[:, T:], theirs.frames[:, T:])
    assert torch.equal(ours.mask, theirs.mask)


@pytest.mark.parametrize("clean_frames", [0, 1, WINDOW])
def test_a_full_sequence_shares_one_level_and_sees_its_block(clean_frames: int) -> None:
    result = noised("full_sequence", clean_frames)
    tau, mask = result.tau[:, T:], result.mask[:, T:, T:]
    assert not result.mask[:, T:, :T].any(), "targets see targets only"
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
    clean = torch.randn(B, 1, 2, 2, 3, generator=torch.Generator().manual_seed(0))
    batch = make_batch(clean, torch.zeros(B, 1), "images")
    result = noise(batch, corruption="full_sequence", clean_frames=WINDOW)
    assert (result.tau[:, 1:] < 1).all()


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
    output = regression_target(clean, noisy, tau, target)
    expected = {"x": clean, "v": clean - eps, "eps": eps}[target]
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(predict_clean(output, noisy, tau, target), clean)


def test_noise_alone_tells_nothing_of_the_clean_frame_by_eps() -> None:
    noisy, tau = torch.full((1, 1, 1, 1, 3), 3.0), torch.zeros(1, 1)
    assert predict_clean(torch.zeros_like(noisy), noisy, tau, "eps").tolist() == [[[[[1.0] * 3]]]]


@pytest.mark.parametrize("target", ["v", "eps"])
@pytest.mark.parametrize("scheme", ["min_snr", "fused_snr"])
def test_a_clean_error_counts_the_same_in_every_space(target: str, scheme: str) -> None:
    clean, eps, tau = example()
    noisy = interpolate(clean, eps, tau)
    past = tau.flip(1)
    wrong = clean + 0.01
    errors = {}
    for space in ("x", target):
        output, true = (regression_target(frames, noisy, tau, space) for frames in (wrong, clean))
        squared = (output - true).square().sum((2, 3, 4))
        errors[space] = squared * error_weight(tau, past, FIRST[:3], space, scheme)
    torch.testing.assert_close(errors[target], errors["x"])


def test_weights_of_known_levels() -> None:
    half = torch.full((1, 3), 0.5)  # where the SNR is 1
    past = torch.tensor([[1.0, 0.5, 0.0]])
    assert error_weight(half, past, FIRST[:1, :3], "v", "uniform").tolist() == [[1, 1, 1]]
    torch.testing.assert_close(
        error_weight(half, past, FIRST[:1, :3], "x", "ramp"), torch.full((1, 3), 0.55)
    )
    torch.testing.assert_close(
        error_weight(half, past, FIRST[:1, :3], "x", "min_snr"), torch.ones(1, 3)
    )
    torch.testing.assert_close(
        error_weight(half, past, FIRST[:1, :3], "v", "min_snr"), torch.full((1, 3), 0.25)
    )
    torch.testing.assert_close(
        error_weight(half * 1.9, past, FIRST[:1, :3], "x", "min_snr"), torch.full((1, 3), 5.0)
    )
    begins = torch.tensor([[True, False, True, False]])
    # By hand: nothing before; then a clean frame; then one of SNR 1 after it.
    visible = 1.0
    later = FUSED_DECAY * visible + (1 - FUSED_DECAY) * 0.2
    by_hand = [5 * (1 - (1 - FUSED_DECAY * s) * 0.8) for s in (0.0, visible, later)]
    fused = error_weight(half, past, FIRST[:1, :3], "x", "fused_snr")
    torch.testing.assert_close(fused, torch.tensor([by_hand]))
    # Another episode's frames are no past: two of two frames, each as if alone.
    two = error_weight(half[:, :1].expand(1, 4), past[:, [0, 1, 0, 1]], begins, "x", "fused_snr")
    torch.testing.assert_close(two, torch.tensor([by_hand[:2] * 2]))


@given(st.sampled_from(WEIGHTS), st.sampled_from(TARGETS), st.floats(0, 0.999))
def test_weights_are_finite_and_not_negative(scheme: str, target: str, level: float) -> None:
    tau = torch.full((2, 4), level)
    result = error_weight(tau, torch.ones_like(tau), FIRST[:2, :4], target, scheme)
    assert result.isfinite().all() and (result >= 0).all()


def test_given_frames_are_not_learned_and_weights_reach_the_loss() -> None:
    card = toy_card(frames=Frames(8, 8, 1, 15, ()))
    network = build(card.model, card.game_spec)
    network.load_state_dict(toy_weights(card))
    clean = torch.rand(2, 8, 8, 8, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    batch = make_batch(clean, torch.zeros(2, 8))

    def loss(truth: Tensor, clean_frames: int, weight: str = "uniform") -> float:
        choices: dict[str, Any] = {"corruption": "full_sequence", "clean_frames": clean_frames}
        inputs = noise(batch, seed=3, **choices)
        is_given = (inputs.tau[:, 8:] == 1)[..., None, None, None]
        changed = batch._replace(clean=torch.where(is_given, truth, clean))
        objective = Method(**choices, target="v", weight=weight).objective()  # type: ignore[arg-type]
        return objective.loss(network, inputs, changed, network).frame.item()

    assert loss(clean, WINDOW) == loss(clean + 1, WINDOW) > 0
    assert loss(clean, 0, "ramp") < loss(clean, 0, "uniform")


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"corruption": "df"}, "corruption is 'df'; allowed are diffusion_forcing, teacher_forc"),
        ({"weight": "snr"}, "weight is 'snr'; allowed are uniform, min_snr, fused_snr, ramp"),
        ({"target": "y"}, "target is 'y'; allowed are x, v, eps"),
        ({"finest": 6}, "finest is 6; allowed are 0, 2, 4"),
        ({"image_share": 1.0}, "image_share is 1.0; expected"),
        ({"clean_frames": 1}, "clean_frames is 1 and corruption 'diffusion_forcing'; .* to 0"),
        ({"corruption": "full_sequence", "finest": 4}, "finest is 4, .* set it to 0"),
        ({"target": "v", "finest": 4}, "finest is 4, .* target 'v'"),
        ({"corruption": "full_sequence", "weight": "fused_snr"}, "weight is 'fused_snr', .* use"),
    ],
)
def test_choices_that_do_not_go_together_are_named(choices: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Method(**choices)


@pytest.mark.parametrize(
    ("choices", "model", "words"),
    [
        ({"corruption": "full_sequence", "clean_frames": 7}, {}, "clean_frames is 7; .* window, 4"),
        ({"corruption": "full_sequence"}, {"kind": "recurrent", "heads": 1}, "is 'recurrent', .*"),
        ({"finest": 4}, {"mixture": 2}, "finest is 4 and model.mixture 2; .* set it to 1"),
    ],
)
def test_a_network_that_a_method_cannot_train_is_refused(
    choices: dict[str, Any], model: dict[str, Any], words: str
) -> None:
    card = toy_card(model=dataclasses.replace(toy_card().model, window=4, **model))
    with pytest.raises(ConfigError, match=words):
        Method(**choices).build(card.model, card.game_spec)


def test_colours_are_learned_as_they_are() -> None:
    clean = torch.nn.functional.one_hot(torch.zeros(2, 5, 8, 8, dtype=torch.int64), 3) * 2.0 - 1
    batch, network = (
        make_batch(clean, torch.zeros(2, 5)),
        build(toy_card().model, toy_card().game_spec),
    )
    with pytest.raises(ConfigError, match="target is 'v'; colours are learned as 'x'"):
        Method(target="v").objective().loss(network, noise(batch), batch, network)
