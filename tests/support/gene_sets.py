"""Conditions as sets of genes, for tests of splits that need no cells."""

from collections.abc import Iterable


def gene_sets(
    conditions: Iterable[str], control: str = "ctrl", separator: str = "+"
) -> dict[str, frozenset[str]]:
    """Genes of each name: `A+B`, `B+A`, `A+ctrl`, `ctrl+A`, bare `A`, `A+B+C`, `ctrl`; order of
    names is kept."""
    genes: dict[str, frozenset[str]] = {}
    for name in conditions:
        # A control label may itself hold the separator.
        parts = [] if name == control else name.split(separator)
        genes[name] = frozenset(part.strip() for part in parts) - {control}
    return genes
