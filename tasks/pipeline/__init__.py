"""This package reads the pipeline of dvc.yaml. Standard library and PyYAML only: the orchestrator imports this."""
