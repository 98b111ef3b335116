"""An example of what another package can add to Nightstill: one of each."""
