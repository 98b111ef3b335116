"""Tables of raw rows: their contract, where they come from, and what they must keep."""
