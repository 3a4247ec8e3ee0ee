"""Serves several replicas of the model as one HTTP service, on one or many machines, with Ray Serve."""
