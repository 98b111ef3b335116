"""Text has models by kind: gradient descent trains `NETWORKS`, the linear one fits itself (teachers only)."""

NETWORKS = {
    "bag": "tasks.problems.text.models.bag:build_bag",
    "cnn": "tasks.problems.text.models.sequence:build_cnn",
    "gru": "tasks.problems.text.models.sequence:build_gru",
    "transformer": "tasks.problems.text.models.sequence:build_transformer",
}
TREES = {"linear": "tasks.problems.text.models.linear:build_linear"}
