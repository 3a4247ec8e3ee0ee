"""Records requests and their outcomes on this machine, and counts them."""
