"""BELLE's conversations of several turns: Alpaca's columns, the instruction holding all turns but the last answer.

`{"instruction": "Human:...\\nAssistant:...\\nHuman:...\\nAssistant:", "input": "", "output"}`, see data/10M/README.md
of LianjiaTech/BELLE (multiturn_chat_0.8M). BELLE's other files are `belle` (0.5M and 1M), `alpaca` (2M, school math,
and generated chats, whose dialogue between characters is the answer) and `sharegpt` (3.5M).
"""

import re
from collections.abc import Mapping
from typing import Any

from pipeline.formats.packed import Marks
from pipeline.formats.packed_instruction import PackedInstruction, losses, recognise, schema
from pipeline.formats.shape import Format

MARKS = Marks(
    user="Human:",
    assistant="Assistant:",
    between="\n",
    pattern=re.compile(r"(?:^|\n)(Human|Assistant):"),
    users=("human",),
)
_ROWS = PackedInstruction(MARKS, MARKS.assistant)


def marks(row: Mapping[str, Any]) -> bool:
    """The instruction begins with a question and ends where an answer is due."""
    value = row["instruction"]
    return isinstance(value, str) and value.startswith("Human:") and value.rstrip().endswith("\nAssistant:")


FORMAT = Format(
    name="belle-multiturn",
    about="BELLE's conversations: 'Human:' and 'Assistant:' packed in Alpaca's instruction",
    recognise=recognise,
    marks=marks,
    read=_ROWS.read,
    write=_ROWS.write,
    refuses=_ROWS.refuses,
    losses=losses,
    schema=schema("BELLE multi-turn row"),
)
