"""Forecasting has models by kind: gradient descent trains `NETWORKS`, `TREES` fit themselves (teachers only)."""

_HERE = "tasks.problems.forecasting.models"

NETWORKS = {
    "lstm": f"{_HERE}.recurrent:build_lstm",
    "gru": f"{_HERE}.recurrent:build_gru",
    "bilstm": f"{_HERE}.recurrent:build_bilstm",
    "tcn": f"{_HERE}.tcn:build_tcn",
    "cnn": f"{_HERE}.cnn:build_cnn",
    "transformer": f"{_HERE}.transformer:build_transformer",
    "mlp": f"{_HERE}.mlp:build_mlp",
    "linear-mlp": f"{_HERE}.linear_mlp:build_linear_mlp",
    "linear": f"{_HERE}.linear:build_linear",
    "patch": f"{_HERE}.patch:build_patch",
    "rnn": f"{_HERE}.rnn:build_rnn",
    "multi-rnn": f"{_HERE}.rnn:build_multi_rnn",
    "attention": f"{_HERE}.attention:build_attention",
    "match": f"{_HERE}.match:build_match",
}
TREES = {"lightgbm": f"{_HERE}.boosting.boosted:build_boosted"}
