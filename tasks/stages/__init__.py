"""One thin module per stage: read inputs, call the domain, write outputs."""
