"""Serves several replicas of the model behind one HTTP service, on one machine or many, by Ray Serve."""
