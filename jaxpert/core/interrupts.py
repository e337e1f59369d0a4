"""Whether somebody has asked the command at hand to end.

Libraries turn an interrupt into errors of theirs (a failed import, a failed figure), and such an
error must not be taken for one of the work.
"""

from __future__ import annotations

CAUGHT: list[int] = []
"""Numbers of the signals that came since the command began."""


def raise_again(error: BaseException) -> None:
    """Raise the interrupt behind an error, if there was one."""
    if CAUGHT:
        raise KeyboardInterrupt from error
