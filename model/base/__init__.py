"""Makes the checkpoints that training starts from."""
