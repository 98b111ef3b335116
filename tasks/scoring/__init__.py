"""Scoring makes predictions for raw tables with a release."""
