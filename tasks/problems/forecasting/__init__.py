"""Forecasting predicts quantiles of many daily series, many days ahead."""
