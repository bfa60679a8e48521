"""Write docs/formats.md: every format, what it cannot carry, and an example row.

Run: python docs/formats_page.py [--check]
"""

import inspect
import json
import sys
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from pipeline.formats import FORMATS  # noqa: E402
from pipeline.formats.listing import ADDRESSES, CONTAINERS, entries  # noqa: E402
from pipeline.record import Message, Record  # noqa: E402

PAGE = ROOT / "docs" / "formats.md"

INTRO = f"""# Formats

Written by `make docs`; `seedmill formats` prints the list. Any of these is recognised when it is read, row by row,
and any can be written:

```
seedmill convert IN --to FORMAT -o OUT [--format FORMAT] [--dry-run] [--strict]
```

What IN is is told from the rows; `--format` (or `format:` of a `read` entry) says it where the rows do not.
`--dry-run` counts what would be written, lost and dropped before anything is; `--strict` writes only if nothing would
be. Rows that cannot be read, or that the format refuses, are in `OUT.drops.jsonl` with file, line and reason. Columns
that a format does not know are kept and written back, in every format; keys of single turns where the turn is.

**Files**: {CONTAINERS}. What a file holds is told by its content; only a table is told by its name. A table keeps
texts; other values of unknown columns come back from it as text, which is counted as `cell-type`.

**Places**: {ADDRESSES}. S3 takes the environment that AWS's own tools take (`AWS_PROFILE`, `AWS_REGION`,
`AWS_ENDPOINT_URL` for other servers, `AWS_NO_SIGN_REQUEST` for public buckets); objects are kept under
`$XDG_CACHE_HOME/seedmill` and fetched again only when they change. The Hub takes `HF_ENDPOINT` and its own login, and
keeps its own cache. Datasets are put on the Hub by `seedmill publish`.

Rows are recognised by their columns, and where two formats share them by the marks in the text: an Alpaca instruction
that begins with `Human:` and ends with `Assistant:` is `belle-multiturn`, one that begins with `<user>:` is `huatuo`,
a completion that ends in `<|endoftext|>` is `self-instruct`. A row that would for that be read as another format's is
counted as `other-format` when it is written. A `prompt` alone is `prompt-completion` only if nothing beside it could
be its answer.

Formats that mark speakers within one text (`baize`, `belle-multiturn`, `gorilla`, `guanaco`, `hh-rlhf`, `huatuo`,
`moss`, `self-instruct`) refuse texts that hold such marks themselves (`not-separable`), and do not keep white space
around a text.
"""


def page() -> str:
    """The whole page."""
    parts = [INTRO]
    for entry in entries():
        name = entry["name"]
        module = import_module(f"pipeline.formats.{name.replace('-', '_')}")
        about = (inspect.getdoc(module) or "").strip()
        lines = [f"## {name}", "", about, "", f"Example: `{example(name)}`", ""]
        if entry["cannot_hold"]:
            lines.append(f"- refuses rows with {', '.join(entry['cannot_hold'])}")
        if entry["comparisons_only"]:
            lines.append("- refuses rows without chosen and rejected")
        if entry["leaves_out"]:
            lines.append(f"- does not keep {', '.join(entry['leaves_out'])}")
        if not (entry["cannot_hold"] or entry["leaves_out"] or entry["comparisons_only"]):
            lines.append("- keeps everything")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def example(name: str) -> str:
    """A row of the format, of our own words."""
    user, answer, worse = (
        Message(role=role, content=text)
        for role, text in (("user", "Name a colour."), ("assistant", "Blue."), ("assistant", "Seven."))
    )
    plain = Record(id="0" * 20, messages=(user, answer))
    choice = Record(id="x", messages=(user,), chosen=(answer,), rejected=(worse,))
    format = FORMATS[name]
    row = format.write(plain if format.refuses(plain) is None else choice)
    return json.dumps({key: value for key, value in row.items() if value not in (None, [])}, ensure_ascii=False)


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(0 if PAGE.read_text(encoding="utf-8") == page() else "docs/formats.md is not what make docs writes")
    PAGE.write_text(page(), encoding="utf-8")
