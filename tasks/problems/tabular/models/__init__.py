"""Tabular has models by kind: gradient descent trains `NETWORKS`, `TREES` fit themselves (teachers only).

Events of entities have `mlp` alone; its contract says which of the two it is built for.
"""

NETWORKS = {
    "mlp": "tasks.problems.tabular.models.kinds:build_mlp",
    "linear": "tasks.problems.tabular.models.kinds:build_linear",
    "tabm": "tasks.problems.tabular.models.kinds:build_tabm",
}
TREES = {
    "lightgbm": "tasks.problems.tabular.models.kinds:build_lightgbm",
    "catboost": "tasks.problems.tabular.models.kinds:build_catboost",
}
