"""`seedmill check FILE... --for TRAINER`."""

import argparse
import json
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from pipeline.errors import UsageError
from pipeline.formats.json_text import dumps_spaced


def check(arguments: argparse.Namespace) -> int:
    """Say what trainers would do with files; 1 when a row would not be trained on as it stands there."""
    from pipeline.trainers.checking import Verdict, as_json, check_files, cut_at, trainers_named
    from pipeline.trainers.glue import write_glue
    from pipeline.trainers.told import as_text

    trainers = trainers_named([name for named in arguments.trainers for name in named.split(",")])
    cut = cut_at(arguments.cutoff, arguments.tokenizer)
    verdicts: list[Verdict] = []
    with ExitStack() as stack:
        rows = None
        if arguments.rows is not None:
            _refuse_input(arguments.rows, arguments.files)
            rows = stack.enter_context(_opened(arguments.rows))
        for item in check_files(arguments.files, trainers, cut):
            if isinstance(item, Verdict):
                verdicts.append(item)
                if not arguments.json:
                    print(as_text(item, cut), flush=True)
            elif rows is not None:
                told = {"file": item.file, "line": item.line, "trainer": item.trainer, **item.finding._asdict()}
                rows.write(dumps_spaced(told) + "\n")
    glue = write_glue(arguments.glue, verdicts) if arguments.glue is not None else []
    if arguments.json:
        facts = {"verdicts": [as_json(verdict, cut) for verdict in verdicts], "glue": [str(path) for path in glue]}
        print(json.dumps(facts, ensure_ascii=False, indent=1))
    else:
        for path in glue:
            print(f"wrote {path}")
    return 0 if all(verdict.good for verdict in verdicts) else 1


def _opened(rows: Path) -> IO[str]:
    try:
        return rows.open("w", encoding="utf-8", newline="\n")
    except OSError as error:
        raise UsageError(f"{rows}: cannot be written: {error.strerror}", "name another file with --rows") from None


def _refuse_input(rows: Path, files: list[str]) -> None:
    if any(Path(file).exists() and rows.exists() and rows.samefile(file) for file in files):
        raise UsageError(f"{rows}: is an input itself", "give another file with --rows")
