"""Tests of the real server process."""
