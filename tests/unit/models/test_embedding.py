"""Static columns as numbers."""

from dataclasses import replace

import torch

from tasks.models.embedding import StaticEmbedding
from tests.unit.models.windows import CONTRACT


def test_each_static_column_has_rows_of_its_own() -> None:
    part = StaticEmbedding(CONTRACT, 2)
    assert part.table is not None and part.table.num_embeddings == 3 + 2 and part.width == 4
    with torch.no_grad():
        part.table.weight.copy_(torch.arange(10.0).reshape(5, 2))
    # Codes 2 and 1 of columns with 3 and 2 values: rows 2 and 3 + 1.
    assert part(torch.tensor([[0, 0], [2, 1]])).tolist() == [[0, 1, 6, 7], [4, 5, 8, 9]]


def test_a_single_column_and_none_at_all() -> None:
    one = StaticEmbedding(replace(CONTRACT, categories={"store_id": ("<unknown>", "s1")}), 3)
    assert one(torch.tensor([[1]])).shape == (1, 3)
    assert StaticEmbedding(replace(CONTRACT, categories={}), 3)(torch.zeros(2, 0, dtype=torch.int64)).shape == (2, 0)
