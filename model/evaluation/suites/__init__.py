"""Runs the public suites: tasks, answers, and the programs that judge them."""
