"""HuaTuo's consultations on literature: Alpaca's columns, the instruction holding all turns but the last answer.

`{"instruction": " <user>: ... <bot>: ... <user>: ...", "input": "", "output"}`, see data-literature/liver_cancer.json
of SCIR-HI/Huatuo-Llama-Med-Chinese. HuaTuo's knowledge questions are plain `alpaca` rows.
"""

import re
from collections.abc import Mapping
from typing import Any

from pipeline.formats.packed import Marks
from pipeline.formats.packed_instruction import PackedInstruction, losses, recognise, schema
from pipeline.formats.shape import Format

MARKS = Marks(
    user=" <user>: ",
    assistant=" <bot>: ",
    between="",
    pattern=re.compile(r"<(user|bot)>:"),
    users=("user",),
)
_ROWS = PackedInstruction(MARKS)


def marks(row: Mapping[str, Any]) -> bool:
    """The instruction begins with the mark of a question."""
    value = row["instruction"]
    return isinstance(value, str) and value.startswith((" <user>:", "<user>:"))


FORMAT = Format(
    name="huatuo",
    about="HuaTuo's consultations: '<user>:' and '<bot>:' packed in Alpaca's instruction",
    recognise=recognise,
    marks=marks,
    read=_ROWS.read,
    write=_ROWS.write,
    refuses=_ROWS.refuses,
    losses=losses,
    schema=schema("HuaTuo row"),
)
