"""Static columns as numbers."""

from dataclasses import replace

import torch

from tasks.problems.forecasting.models.embedding import StaticEmbedding
from tests.unit.problems.forecasting.models.windows import CONTRACT


def test_each_static_column_has_rows_of_its_own() -> None:
    part = StaticEmbedding(CONTRACT, 2)
    assert part.table is not None and part.table.num_embeddings == 7 + 3 + 2 and part.width == 6
    with torch.no_grad():
        part.table.weight.copy_(torch.arange(24.0).reshape(12, 2))
    # The first and the last values of columns with 7, 3 and 2 values: rows 0, 7 and 7 + 3, and 6, 7 + 2 and 10 + 1.
    found = part(torch.tensor([[0, 7, 10], [6, 9, 11]]))
    assert found.tolist() == [[0, 1, 14, 15, 20, 21], [12, 13, 18, 19, 22, 23]]


def test_a_single_column_and_none_at_all() -> None:
    one = StaticEmbedding(replace(CONTRACT, categories={"store_id": ("<unknown>", "s1")}), 3)
    assert one(torch.tensor([[1]])).shape == (1, 3)
    assert StaticEmbedding(replace(CONTRACT, categories={}), 3)(torch.zeros(2, 0, dtype=torch.int64)).shape == (2, 0)


def test_the_first_column_can_be_left_out() -> None:
    part = StaticEmbedding(CONTRACT, 1, first=False)
    assert part.table is not None and part.table.num_embeddings == 3 + 2 and part.width == 2
    with torch.no_grad():
        part.table.weight.copy_(torch.arange(5.0).reshape(5, 1))
    assert part(torch.tensor([[0, 7, 10], [6, 9, 11]])).tolist() == [[0, 3], [2, 4]]
    alone = StaticEmbedding(replace(CONTRACT, categories={"phase": ("0", "1")}), 3, first=False)
    assert alone(torch.zeros(2, 1, dtype=torch.int64)).shape == (2, 0)
