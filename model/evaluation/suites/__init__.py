"""Runs the public suites: tasks, answers, and the programs that check the answers."""
