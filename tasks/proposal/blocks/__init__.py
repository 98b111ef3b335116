"""What proposals of all kinds share: the look at a file, what columns are likely to be, the form of a proposal."""
