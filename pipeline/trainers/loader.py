"""What Hugging Face's `datasets` does to a whole file before a trainer sees a row of it.

Measured with datasets 4.0.0 and 5.2.0 (`datasets/packaged_modules/json/json.py`): the columns of JSON Lines are told
from the first 10 MiB, and what appears later ends the load; a JSON array is read as one piece. In 4.0.0 one column
cannot hold two kinds of values; in 5.2.0 it is then kept as JSON.
"""

from pipeline.trainers.finding import Finding, stops
from pipeline.trainers.survey import Survey


def inside_an_object(survey: Survey) -> Finding | None:
    """An object around the rows is loaded as one row, whose columns are the object's."""
    if survey.container == "page":
        return stops("inside-an-object", "the rows stand in a page of HTML, which `datasets` does not load")
    if survey.container != "object":
        return None
    return stops("inside-an-object", "the rows stand inside one object, which `datasets` takes for the only row")


def late_column(survey: Survey) -> Finding | None:
    """A column, or a key of turns, whose first value is beyond what the columns are told from."""
    if not survey.late:
        return None
    name, line = min(survey.late.items(), key=lambda item: item[1])
    more = f", and {len(survey.late) - 1} more" if len(survey.late) > 1 else ""
    detail = (
        f"'{name}' has its first value in line {line:,}, beyond the 10 MiB that tell `datasets` the columns{more}:"
        " loading ends with an error; write the file as a JSON array or parquet, or move that row up"
    )
    return stops("late-column", detail)


def mixed_types(survey: Survey) -> Finding | None:
    """A column with values of two kinds: an error up to datasets 4.0.0 at least."""
    if not survey.mixed or survey.container == "parquet":
        return None
    name, (kinds, line) = min(survey.mixed.items(), key=lambda item: item[1][1])
    held = f"'{name}' holds {' and '.join(kinds)}, from line {line:,} on"
    detail = f"{held}: LLaMA-Factory needs datasets 4.0.0 or older, which cannot load that"
    return stops("mixed-types", detail)
