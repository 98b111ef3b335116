"""This kind of learning reads a text and answers with one of several labels."""
