"""Opening a run, and bringing all its stages to their end without an orchestrator."""
