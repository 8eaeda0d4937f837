"""Memories beyond the window: cached equals recomputed, nothing looks ahead, none is too large."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfgym.diffusion.corrupt import NoisedSequences, corrupt
from dfgym.diffusion.draws import Draws
from dfgym.errors import ConfigError
from dfgym.model.archive import Archive
from dfgym.model.config import GameSpec, ModelConfig
from dfgym.model.network import build
from dfgym.model.odometer import Odometer, walk
from dfgym.model.slots import memory_position
from dfgym.model.spatial_map import SpatialMap
from dfgym.model.state_space import StateSpace, place_code

WINDOW = 2
GAME = GameSpec(height=4, width=4, channels=3, categorical=True, actions=3, rewards=2)
SIZES: dict[str, int] = {"archive": 4, "state_space": 5, "spatial_map": 7}
"""The archive fills, so that frames are replaced."""


def network(memory: str, window: int = WINDOW, **changes: int) -> Any:
    size = {"memory_size": SIZES.get(memory, 0), **changes}
    config = ModelConfig(16, 2, 2, 2, window, memory=memory, **size)  # type: ignore[arg-type]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = build(config, GAME).eval().requires_grad_(False)
        for parameter in built.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return built


def sequences(b: int, t: int, segment: Tensor | None = None, seed: int = 0) -> NoisedSequences:
    generator = torch.Generator().manual_seed(seed)
    clean = F.one_hot(torch.randint(3, (b, t, 4, 4), generator=generator), 3) * 2.0 - 1
    actions = torch.randint(0, 3, (b, t), generator=generator)
    segment = torch.zeros(b, t) if segment is None else segment
    noised = corrupt(clean, actions, segment, Draws([seed]), window=WINDOW)
    return noised._replace(tau=noised.tau[:1].expand(b, -1))  # a pass has one level for all rows


@pytest.fixture(params=SIZES)
def memory(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_training_equals_repeated_passes_over_a_cache(memory: str) -> None:
    net, (b, t) = network(memory), (3, 12)
    noised = sequences(b, t)
    whole, cache = net(*noised), net.empty_cache(b)
    assert sum(tensor[0].numel() for layer in cache for tensor in layer) == net.config.cache_size(
        GAME
    )
    for n in range(t):
        position = net.cache_position(torch.full((b,), n))
        for copy in (t + n, t + n, n):  # two denoising passes, then the commit
            conditioning = net.conditioning(float(noised.tau[0, copy]))
            tokens = net.step(
                noised.frames[:, copy], conditioning, noised.actions[:, n], position, cache
            )
            scores = net.predict_frame(tokens).scores
            torch.testing.assert_close(whole.prediction.scores[:, copy], scores, rtol=0, atol=3e-5)


def test_what_is_looked_up_once_serves_all_passes_over_a_frame(memory: str) -> None:
    """And passes after which another follows leave the memory as it was."""
    net, noised, n = network(memory), sequences(2, 9), 8
    cache, conditioning = net.empty_cache(2), net.conditioning(1.0)
    for i in range(n):
        position = net.cache_position(torch.full((2,), i))
        net.step(noised.frames[:, i], conditioning, noised.actions[:, i], position, cache)
    one, other = ([tuple(x.clone() for x in layer) for layer in cache] for _ in range(2))
    position, action = net.cache_position(torch.full((2,), n)), noised.actions[:, n]
    looked, last = net.look(conditioning, action, position, one)
    before = [tensor.clone() for tensor in chain(*one[net.config.depth :])]
    frames = noised.frames[:, n]
    a_pass = net.step(-frames, conditioning, action, looked, one)
    assert all(map(torch.equal, before, chain(*one[net.config.depth :])))
    assert torch.equal(a_pass, net.step(-frames, conditioning, action, position, other))
    the_last = net.step(frames, conditioning, action, last, one)
    assert torch.equal(the_last, net.step(frames, conditioning, action, position, other))
    assert all(map(torch.equal, chain(*one), chain(*other)))
    assert not all(map(torch.equal, before, chain(*one[net.config.depth :])))


def test_half_precision_is_close(memory: str) -> None:
    net, noised = network(memory), sequences(2, 6)
    scores = []
    for half in (False, True):
        cache, conditioning = net.empty_cache(2), net.conditioning(1.0)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            for i in range(6):
                position = net.cache_position(torch.full((2,), i))
                tokens = net.step(
                    noised.frames[:, i], conditioning, noised.actions[:, i], position, cache
                )
        scores.append(net.predict_frame(tokens).scores)
    torch.testing.assert_close(*scores, rtol=0, atol=0.1)
    assert not torch.equal(*scores)


def test_what_has_left_the_window_matters_and_the_future_does_not(memory: str) -> None:
    t, noised = 12, sequences(1, 12)
    changed = noised.frames.clone()
    changed[:, 1] = -changed[:, 1]
    after = noised._replace(frames=changed)
    # An archive that is full may have replaced the frame.
    net = network(memory, memory_size=20) if memory == "archive" else network(memory)
    one, other = (net(*inputs).prediction.scores[0] for inputs in (noised, after))
    assert torch.equal(one[0], other[0]) and torch.equal(one[t : t + 2], other[t : t + 2])
    assert not torch.equal(one[-1], other[-1]), "ten frames later"
    forgetful = network("none")
    one, other = (forgetful(*inputs).prediction.scores[0] for inputs in (noised, after))
    assert torch.equal(one[-1], other[-1]), "two blocks see four frames back"


def test_an_episode_knows_nothing_of_the_one_before(memory: str) -> None:
    segment = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1]])
    noised = sequences(1, 8, segment)
    net, scores = network(memory), list[Tensor]()
    for inputs in (noised, noised._replace(frames=noised.frames.clone())):
        if scores:
            inputs.frames[:, 1] *= -1
        scores.append(net(*inputs).prediction.scores[0])
    torch.testing.assert_close(scores[0][3:8], scores[1][3:8])  # sums are rounded otherwise
    index = torch.tensor([*range(3, 8), *range(11, 16)])
    mask = noised.mask[:, index][:, :, index]
    alone = NoisedSequences(*(x[:, index] for x in noised[:4]), mask=mask)  # type: ignore[misc]
    torch.testing.assert_close(net(*alone).prediction.scores[0], scores[0][index])


def test_what_is_out_of_sight_is_zeroed_and_not_missed(memory: str) -> None:
    net, noised, n = network(memory), sequences(2, 9), 8
    cache, conditioning = net.empty_cache(2), net.conditioning(1.0)
    for i in range(n):
        position = net.cache_position(torch.full((2,), i))
        net.step(noised.frames[:, i], conditioning, noised.actions[:, i], position, cache)
    copies = [[tuple(x.clone() for x in layer) for layer in cache] for _ in range(2)]
    position = net.cache_position(torch.full((2,), n))
    peek = (noised.frames[:, n], conditioning, noised.actions[:, n], position)
    expected = net.step(*peek, cache)  # which dirties it
    for dirty in (cache, copies[0]):
        net.hide(dirty, torch.full((2,), n))
    for layer, other in zip(cache, copies[0], strict=True):
        assert all(torch.equal(x, y) for x, y in zip(layer, other, strict=True))
    assert torch.equal(net.step(*peek, cache), expected)


def archive(size: int) -> Archive:
    return Archive(8, 2, (2, 2), size)


def test_a_full_archive_replaces_what_is_most_like_a_later_frame() -> None:
    """Frames 1 and 3 stand alike, so 1 goes first, and 3 is needed in its place."""
    poses = torch.tensor([[[0.0, 0, 0], [9, 9, 0], [-9, 9, 0], [9, 9, 0], [1, 0, 0], [-9, -9, 0]]])
    stored = archive(4).stored(poses, torch.tensor([[False] + [True] * 5]))
    assert stored[0, 4].tolist() == [True] * 4 + [False] * 2
    assert stored[0, 5].tolist() == [True, False, True, True, True, False]


def test_an_archive_reads_the_last_frame_and_those_that_show_the_rest() -> None:
    """The agent turns around: before it, frame 2 shows nothing, 0 all, and 1 half but is later."""
    poses = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [0, 0, 2], [0, 0, 2]]])
    age = torch.tensor([[4.0, 3, 2, 1]])
    sight = F.pad(torch.ones(1, 4, 16), (0, 1))
    select = archive(4).select
    assert select(sight, poses, age, torch.zeros(1, 3))[0, :2].tolist() == [3, 0]
    sight[0, 0] = 0
    assert select(sight, poses, age, torch.zeros(1, 3))[0, :2].tolist() == [3, 1]


def test_a_past_frame_is_laid_out_as_it_is_seen_from_here() -> None:
    """A thing two cells ahead is at the left after a turn to the right, and nearer after a step."""
    odometer = Odometer(8, 1, (4, 5))
    odometer.read_view = nn.Identity()  # type: ignore[assignment]
    cells = torch.zeros(1, 1, 20, 13)
    cells[..., 0] = 50  # seen
    cells[0, 0, 7, 1:] = 1  # row 1, column 2; the agent is at row 3, column 2
    pose, origin = torch.zeros(1, 1, 3), torch.zeros(1, 3)
    for motion, place in ((0, (1, 2)), (1, (3, 4)), (2, (3, 0)), (3, (2, 2))):
        logits = F.one_hot(torch.tensor([motion]), 4) * 9.0
        for learning in (False, True):
            logits = logits.requires_grad_(learning)
            view = odometer.lay_out(cells, pose, torch.ones(1, 1), origin, logits).detach()
            thing = (view[0, ..., 0] > 0.5).nonzero()
            assert thing.tolist() == [list(place)], (motion, learning)
    logits = torch.tensor([[0.0, 0, 0, 9]]).requires_grad_()
    odometer.lay_out(cells, pose, torch.ones(1, 1), origin, logits)[0, 3, 0, 0].backward()
    assert logits.grad is not None and logits.grad[0].argmax() == 2, "a turn would bring it there"
    assert not odometer.lay_out(cells, pose, torch.zeros(1, 1), origin, logits).any(), "no frame"


def test_poses_add_up() -> None:
    """Ahead, right, ahead, ahead, left, and a new episode that turns left."""
    odometer = Odometer(8, 2, (2, 2))
    begun = torch.tensor([[False, True, True, True, True, False]])
    poses = walk(torch.tensor([[3, 2, 3, 3, 1, 1]]), begun)[0]
    assert poses.tolist() == [[1, 0, 0], [1, 0, 1], [1, 1, 1], [1, 2, 1], [1, 2, 0], [0, 0, 3]]
    there, here = torch.tensor([3.0, 2, 1]), torch.tensor([1.0, 2, 0])
    places = view_places((3, 2, 1), (4, 4)), view_places((1, 2, 0), (4, 4))
    layouts = odometer.layouts(torch.device("cpu"))
    layout = layouts[odometer.relative(there, here)].view(4, 4)
    for place, cell in zip(places[0].reshape(-1, 2), layout.flatten(), strict=True):
        same = (places[1].reshape(-1, 2) == place).all(-1).nonzero().flatten()
        assert same.tolist() == [cell.item()] * (cell.item() < 16)
    both = (places[0].reshape(-1, 1, 2) == places[1].reshape(-1, 2)).all(-1).sum()
    assert 0 < odometer.overlap(there, here) == both < 16


def view_places(pose: tuple[int, int, int], view: tuple[int, int]) -> Tensor:
    """Return x and y of each cell of a view, by turning it as often as its heading says."""
    x, y, heading = pose
    rows, columns = torch.meshgrid(*map(torch.arange, view), indexing="ij")
    places = torch.stack((view[0] - 1 - rows, columns - (view[1] - 1) // 2), -1)  # heading 0
    for _ in range(heading):
        places = torch.stack((-places[..., 1], places[..., 0]), -1)
    return places + torch.tensor((x, y))


def test_a_state_replaces_what_was_stored_under_a_key() -> None:
    """With full decay gates and rate 1 the delta rule returns the last value of each key."""
    memory = StateSpace(4, 1, (1, 1), 3)
    keys = torch.eye(3)[[0, 1, 0, 0]]
    values = torch.tensor([[1.0, 0, 0], [0, 2, 0], [0, 0, 3], [9, 9, 9]])
    forget_nothing, rate = torch.zeros(1, 8, 1), torch.ones(1, 8, 1)
    rows = [x.repeat(2, 1)[None, :, None] for x in (keys, keys, values)]
    memory.split = lambda x, pose: (*rows, forget_nothing, rate)  # type: ignore[method-assign]
    memory.merge = lambda read, shape: read[..., None, :]  # type: ignore[method-assign]
    memory.sequence = lambda *_: (torch.zeros(1, 4, 3), torch.zeros(4, 1, 1, 1))  # type: ignore[method-assign]
    read = memory(torch.zeros(1, 8, 1, 1, 4), torch.zeros(1), torch.tensor([[False] + [True] * 3]))
    expected = torch.tensor([[0.0, 0, 0], [0, 0, 0], [1, 0, 0], [0, 0, 3]])
    torch.testing.assert_close(read.flatten(2)[0, :4], expected)
    torch.testing.assert_close(read.flatten(2)[0, 4:], expected)


def test_keys_of_other_places_are_far_apart() -> None:
    poses = torch.cartesian_prod(torch.arange(5.0), torch.arange(5.0), torch.arange(4.0))
    code = place_code(poses)
    alike = code @ code.T - torch.eye(len(code))
    torch.testing.assert_close(code.norm(dim=1), torch.ones(len(code)))
    assert alike.abs().max() < 0.6 and alike.square().mean().sqrt() < 0.1


def test_a_map_is_read_as_it_is_seen_from_here() -> None:
    """A thing that a frame showed two ahead is at the left after a turn to the right."""
    memory = SpatialMap(8, 1, (4, 5), 9)
    memory.read_view = nn.Identity()  # type: ignore[assignment]
    frames = torch.zeros(1, 4, 20, 13)
    frames[..., 0] = 50  # written without reserve
    frames[0, 0, 7, 1:] = 50  # row 1, column 2; the agent is at row 3, column 2
    frames[0, 1:, :, 0] = -50  # later frames write nothing
    memory.write_of = lambda x: frames.flatten(0, 1)  # type: ignore[method-assign]
    tokens, begun = torch.zeros(1, 8, 4, 5, 8), torch.tensor([[False, True, True, True]])

    def read(motions: list[int], learning: bool = False) -> Tensor:
        logits = (F.one_hot(torch.tensor([motions]), 4) * 9.0).requires_grad_(learning)
        memory.motion.sequence = lambda *_: logits  # type: ignore[method-assign]
        view = memory(tokens, tokens[:, :4, 0, 0], begun)[0, :4, :, :, 0]
        if learning:
            view[1, 3, 0].backward()
            assert logits.grad is not None and logits.grad[0, 1].argmax() == 2, "a turn brings it"
        return view.detach()

    places = {1: (3, 4), 2: (3, 0), 3: (2, 2), 0: (1, 2)}
    for motion, place in places.items():
        for learning in (False, True):
            view = read([0, motion, 0, 0], learning)
            assert not view[0].any(), "a frame does not read what it shows itself"
            assert (view[1] > 0.5).nonzero().tolist() == [list(place)], (motion, learning)
    view = read([0, 2, 2, 2])
    assert (view[2] < 0.5).all(), "behind"
    assert (view[3] > 0.5).nonzero().tolist() == [[3, 4]], "at the right"


def test_a_map_forgets_what_it_has_left_behind() -> None:
    """What lies four ahead, where the map of nine ends, was four behind before the step ahead."""
    memory = SpatialMap(8, 2, (2, 2), 9)
    column = (memory.came(torch.tensor([1.0, 0, 0])) % 9).tolist()
    assert column == [5] * 9
    cache, time = memory.empty_cache(2), torch.tensor([5, 5])
    cells, _, poses, _ = cache
    cells.fill_(1)
    poses[:, 0] = torch.tensor([[1.0, 0, 0, 1], [1, 0, 0, 0]])  # one went ahead, one stayed
    memory.write_last(memory_position(time), cache)
    left = cells[..., 0].view(2, 9, 9)
    assert not left[0, :, 5].any() and left[0].sum() == 81 - 9 - 16, "nor what is in view, empty"
    assert left[1].sum() == 81 - 16
    before = cells.clone()
    memory.write_last(memory_position(time), cache)
    assert torch.equal(cells, before), "it may be done again"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"memory": "map", "memory_size": 8}, "memory is 'map'; allowed are none, archive"),
        ({"memory": "archive", "memory_size": 3}, "memory_size is 3; expected 4 to .* reads 4"),
        ({"memory": "archive", "memory_size": 6, "window": 6}, "expected 7 to .*window of 6"),
        ({"memory": "state_space"}, "memory_size is 0; expected 1 to 64"),
        ({"memory": "spatial_map", "memory_size": 8}, "memory_size is 8; expected 3 to 127, odd"),
        ({"memory_size": 8}, "memory_size is 8; expected 0 where memory is 'none'"),
        (
            {"memory": "archive", "memory_size": 8, "kind": "recurrent", "heads": 1},
            "is 'recurrent'",
        ),
    ],
)
def test_a_wrong_memory_is_refused(changes: dict[str, Any], words: str) -> None:
    sizes: dict[str, Any] = {"dim": 16, "depth": 1, "heads": 2, "patch": 2, "window": 2}
    with pytest.raises(ConfigError, match=words):
        ModelConfig(**sizes | changes)


def test_a_map_that_is_smaller_than_the_view_is_refused() -> None:
    with pytest.raises(ConfigError, match="memory_size is 5; expected at least 7"):
        network("spatial_map", memory_size=5)
