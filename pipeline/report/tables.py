"""The tables that stages keep beside their books, such as what was found of each benchmark."""

from collections.abc import Iterator, Sequence

from pipeline.report.funnel import Step
from pipeline.report.rows import printable, table

Lines = list[list[str]]


def _tables(found: Sequence[Step]) -> Iterator[tuple[str, list[str], Lines]]:
    """Of each table the entry, the header and the rows; columns that are 0 everywhere are left out but for the first
    five."""
    for step in found:
        for name, rows in step.tables.items():
            every = list(dict.fromkeys(column for cells in rows.values() for column in cells))
            columns = [c for i, c in enumerate(every) if i < 5 or any(cells.get(c) for cells in rows.values())]
            lines = [[row, *(f"{cells.get(column, 0):,}" for column in columns)] for row, cells in rows.items()]
            yield step.name, [name, *(column.replace("_", " ") for column in columns)], lines


def as_text(found: Sequence[Step]) -> str:
    """All tables as aligned plain text, an empty line between them; empty when there are none."""
    return "\n\n".join(
        f"{printable(entry)}:\n{table(header, lines, left=1)}" for entry, header, lines in _tables(found)
    )
