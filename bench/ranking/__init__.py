"""These benchmarks are of recommendations: of new items, and of their time by the size of a catalogue."""
