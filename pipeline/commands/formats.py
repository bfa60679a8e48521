"""The command that lists dataset formats: `formats`."""

import argparse
import json


def formats(arguments: argparse.Namespace) -> int:
    """`seedmill formats`."""
    from pipeline.formats.listing import entries, sentence

    print(json.dumps(entries(), ensure_ascii=False, indent=1) if arguments.json else sentence())
    return 0
