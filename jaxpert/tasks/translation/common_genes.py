"""The genes that several files have in common."""

from __future__ import annotations

from collections.abc import Sequence

from jaxpert.core.types import InputError
from jaxpert.data.files import Table, shown
from jaxpert.data.identifiers import advice


def common_genes(tables: Sequence[Table]) -> tuple[str, ...]:
    """The genes of all tables, sorted by name."""
    common = set(map(str, tables[0].var.index)).intersection(
        *(map(str, table.var.index) for table in tables[1:])
    )
    if not common:
        firsts = [f"{table.source} (such as {shown(table.var.index[:2])})" for table in tables]
        raise InputError(
            f"no gene is in all of {shown(firsts, 20)}, expected common gene names: give all files "
            "the same kind of name (symbols or identifiers) as var_names, or name their genes by "
            f"a column with data.gene_names{_advice(tables)}"
        )
    return tuple(sorted(common))


def _advice(tables: Sequence[Table]) -> str:
    """What would give files the gene names of the first one, or the first one theirs."""
    clauses = []
    for table, other in [(table, tables[0]) for table in tables[1:]] + [(tables[0], tables[-1])]:
        better = advice(list(table.var.index), table.var, list(other.var.index))
        if better:
            clauses.append(f"in {table.name}, {better}")
    return f" ({'; '.join(clauses)})" if clauses else ""
