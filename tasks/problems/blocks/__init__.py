"""What several kinds of learning share."""
