"""Gates are rules on measured numbers: a candidate must pass them before it may be released."""
