"""Parses documents: languages, trees, brackets, strings, comments and indentation."""
