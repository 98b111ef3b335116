"""This folder holds the contract of raw tables, the sources that deliver them, and the checks that they must pass."""
