"""Tabular has models by kind: gradient descent trains `NETWORKS`, `TREES` fit themselves (there are none)."""

NETWORKS = {"mlp": "tasks.problems.tabular.models.mlp:build_mlp"}
TREES: dict[str, str] = {}
