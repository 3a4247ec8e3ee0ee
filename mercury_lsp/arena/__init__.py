"""The arena: models and modes compared blindly on edits that the user made. Knows no terminal and no editor."""
