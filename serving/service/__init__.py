"""The HTTP scoring service serves one workload's champion behind a checked request."""
