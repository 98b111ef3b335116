"""Models of the tabular kind: `NETWORKS` are trained by gradient descent, `TREES` fit themselves (there are none)."""

NETWORKS = {"mlp": "tasks.problems.tabular.models.mlp:build_mlp"}
TREES: dict[str, str] = {}
