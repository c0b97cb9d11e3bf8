"""Methods compared on the same network, data, epochs and rates."""
