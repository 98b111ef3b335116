"""The HTTP scoring service: one workload's champion behind a checked request."""
