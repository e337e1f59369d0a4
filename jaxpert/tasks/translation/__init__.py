"""The task `translation`: paired pseudo-bulk rows of two states, over several lines or doses."""
