"""The pipeline as dvc.yaml defines it. Standard library and PyYAML only: the orchestrator imports this."""
