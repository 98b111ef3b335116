"""The program `nightstill`: one module a group of commands."""
