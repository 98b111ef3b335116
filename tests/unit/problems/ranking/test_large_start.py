"""The closest product of a large one is looked for, not decomposed whole: it is nearly the same, and always equal."""

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

from tasks.problems.ranking.models.students import principal

ITEMS, RANK = 400, 12


def product(items: int = ITEMS) -> torch.Tensor:
    """Like similarities of items: some groups, and strengths that fall slowly."""
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.normal(size=(items, items)))[0] for _ in range(2))
    return torch.from_numpy((left * np.arange(1, items + 1) ** -0.5) @ right).float()


def test_what_is_found_is_nearly_the_closest() -> None:
    given = product()
    whole, found = (principal(given, RANK, large=large) for large in (ITEMS + 1, ITEMS))
    near, close = (left * strengths @ right.T for left, strengths, right in (found, whole))
    assert [part.shape for part in found] == [part.shape for part in whole]
    np.testing.assert_allclose(found[1], whole[1], rtol=1e-3)
    assert torch.linalg.norm(given - near) <= 1.001 * torch.linalg.norm(given - close)


def test_it_is_the_same_every_time_and_draws_from_no_other_numbers() -> None:
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 the state of all others' numbers
    before = torch.get_rng_state(), str(np.random.get_state())  # noqa: NPY002
    first, again = (principal(product(), RANK, large=1) for _ in range(2))
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == str(np.random.get_state())  # noqa: NPY002


def test_the_cores_of_the_machine_change_no_number_of_it() -> None:
    threads = torch.get_num_threads()
    given, found = torch.from_numpy(np.random.default_rng(0).normal(size=(1000, 1000))).float(), []
    torch.set_num_threads(1)
    try:
        for count in (1, 2):
            with threadpool_limits(count, "blas"):
                found.append(principal(given, RANK, large=1))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))


@pytest.mark.parametrize("large", [1, 100])
def test_a_rank_above_the_products_own_ends_in_zeros(large: int) -> None:
    left, strengths, right = principal(product(5), 8, large=large)
    assert left.shape == right.shape == (5, 8) and strengths.shape == (8,)
    assert not strengths[5:].any() and not left[:, 5:].any() and not right[:, 5:].any()
    np.testing.assert_allclose(left * strengths @ right.T, product(5), atol=1e-5)
