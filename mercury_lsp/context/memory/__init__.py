"""Indexes the project memory: the tokens that followed each context in the workspace's files and the open document."""
