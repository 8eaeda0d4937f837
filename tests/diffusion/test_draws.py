"""What is drawn for a sequence is its own: of its seed, and of nothing beside it."""

from __future__ import annotations

import pytest
import torch

from dfgym.diffusion.draws import Draws


@pytest.mark.parametrize("rows", [1, 3])
def test_a_sequence_draws_the_same_alone_and_among_others(rows: int) -> None:
    together = Draws([5, 6, 7], rows)
    alone = Draws([6], rows)
    middle = slice(rows, 2 * rows)
    for _ in range(2):
        assert torch.equal(together.rand((3 * rows, 4))[middle], alone.rand((rows, 4)))
        assert torch.equal(together.randn((3 * rows, 2, 2))[middle], alone.randn((rows, 2, 2)))
        assert torch.equal(
            together.randint(2, 9, (3 * rows,))[middle], alone.randint(2, 9, (rows,))
        )


def test_one_generator_draws_all_rows() -> None:
    generator = torch.Generator().manual_seed(3)
    assert torch.equal(Draws([3]).randn((5, 2)), torch.randn(5, 2, generator=generator))


def test_the_first_rows_alone_have_their_own_generators() -> None:
    assert torch.equal(Draws([1, 2, 3], 2).rand((3,)), Draws([1, 2], 2).rand((4,))[:3])


def test_a_row_without_a_generator_is_our_mistake() -> None:
    with pytest.raises(AssertionError, match="without a generator"):
        Draws([1, 2], 1).rand((3,))
