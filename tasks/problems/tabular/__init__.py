"""Tabular predicts which class an entity falls into in the next days, from its daily rows."""
