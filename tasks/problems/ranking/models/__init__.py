"""Ranking has models by kind: gradient descent trains `NETWORKS`, row by row; `TREES` fit themselves (teachers only).

Of the latter EASE has a closed form, and the others learn from all places of a user's events at once.
"""

NETWORKS = {
    "decayed-sum": "tasks.problems.ranking.models.students:build_decayed_sum",
    "gru": "tasks.problems.ranking.models.students:build_gru",
    "neighbours": "tasks.problems.ranking.models.neighbours:build_neighbours",
    "transformer": "tasks.problems.ranking.models.students:build_transformer",
}
TREES: dict[str, str] = {
    "ease": "tasks.problems.ranking.models.product:build_ease",
    "item-knn": "tasks.problems.ranking.models.product:build_item_knn",
    "sequence-gru": "tasks.problems.ranking.models.sequence:build_sequence_gru",
    "sequence-transformer": "tasks.problems.ranking.models.sequence:build_sequence_transformer",
}
