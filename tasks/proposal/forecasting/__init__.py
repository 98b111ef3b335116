"""What a table of series looks like, and the section that forecasts it."""
