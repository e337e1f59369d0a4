"""The error that users meet; it stands apart so that reading a config needs no JAX."""


class InputError(ValueError):
    """Something the user gave cannot be used; the message is one sentence: found, expected, the
    usual fix."""
