"""Watching tells how good a release turned out to be, once the truth about its forecasts has come."""
