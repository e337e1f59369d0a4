"""The task `screen`: cells of one screen, and the effect of each condition."""
