"""The program `nightstill` has one module for each group of commands."""
