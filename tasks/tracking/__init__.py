"""This package keeps MLflow's runs, and its registry in line with the ledger."""
