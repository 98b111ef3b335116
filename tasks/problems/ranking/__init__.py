"""Ranking orders a catalogue's items for a user, from the history of the items that they had."""
