"""Makes trained networks smaller: pruning, rounding to few bits, packing for the wheel."""
