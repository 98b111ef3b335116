"""What memory takes when rows are many or wide: a made-up kind of learning whose rows lie on a disk."""
