"""The stages, one file each; a recipe names them as this table does."""

from typing import Any

from pipeline.stages.answer import Answer
from pipeline.stages.dedup import Dedup
from pipeline.stages.filter import Filter
from pipeline.stages.fix import Fix
from pipeline.stages.prune import Prune
from pipeline.stages.read import Read
from pipeline.stages.self_instruct import SelfInstruct

STAGES: dict[str, Any] = {
    "read": Read,
    "self-instruct": SelfInstruct,
    "answer": Answer,
    "fix": Fix,
    "filter": Filter,
    "dedup": Dedup,
    "prune": Prune,
}
