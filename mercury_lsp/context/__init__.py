"""What surrounds the cursor: documents, their syntax, and the prompt. Knows no torch and no LSP."""
