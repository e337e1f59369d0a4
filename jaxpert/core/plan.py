"""What is known of a run before it begins: its stretches of steps and its validations."""

from __future__ import annotations

from typing import Any, NamedTuple

from jaxpert.core.feed import Span

Numbers = dict[str, Any]
"""Loss, terms and counts of steps, by name."""


class Plan(NamedTuple):
    """What is known of a run before it begins."""

    first: int
    last: int
    epoch: int
    """Steps per epoch."""
    stretch: int
    """Steps per logged stretch; the last one of an epoch may be shorter."""
    validate_every: int
    patience: int | None

    def stretches(self) -> list[int]:
        """Lengths of the stretches from `first` to `last`; they start anew with every epoch."""
        return [span.steps for span in self.spans()]

    def spans(self) -> list[Span]:
        """The same with the epoch and the step in it where each begins."""
        return spans_of(self.first, self.last, self.epoch, self.stretch)

    def validates(self, step: int) -> bool:
        # The last step too: where training ends must be judged before the best is taken.
        return step == self.last or step % (self.epoch * self.validate_every) == 0

    def exhausted(self, best_epoch: Any, epoch: Any) -> Any:
        """Whether patience had run out at the last validation up to `epoch` (arrays or numbers)."""
        if self.patience is None:
            # False in the form of the argument, be it a number or an array of seeds.
            return epoch < 0
        # Counted at the last validation, since nothing improves in between.
        return epoch // self.validate_every * self.validate_every - best_epoch >= self.patience


def spans_of(first: int, last: int, epoch: int, stretch: int) -> list[Span]:
    """The steps from `first` to `last` cut into stretches, none of which leaves its epoch of so
    many steps."""
    spans, at = [], first
    while at < last:
        # Bounds count from the epoch's start, so a resumed run meets the same programs.
        number, within = divmod(at, epoch)
        to_log = stretch - within % stretch
        spans.append(Span(number, within, min(to_log, epoch - within, last - at)))
        at += spans[-1].steps
    return spans
