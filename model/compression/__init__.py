"""Compresses trained networks: pruning, quantization, and packing for the wheel."""
