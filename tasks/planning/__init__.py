"""This package opens a run, and brings all its stages to their end without an orchestrator."""
