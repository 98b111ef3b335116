"""Nights puts the last nights of a workload side by side, from manifests and the ledger alone."""
