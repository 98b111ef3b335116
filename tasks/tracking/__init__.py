"""MLflow: runs, and its registry in line with the ledger."""
