"""From raw records to outcomes: decode, batch, infer, encode, in one child process a device."""
