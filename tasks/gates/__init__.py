"""Rules on measured numbers: what a candidate must show before it may be released."""
