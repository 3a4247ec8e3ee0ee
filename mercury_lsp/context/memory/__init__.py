"""The project memory: what followed each context of tokens in the workspace's files and in the open document."""
