"""The stages, one file each; a recipe names them as this table does."""

from typing import Any

from pipeline.stages.answer import Answer
from pipeline.stages.decontaminate import Decontaminate
from pipeline.stages.dedup import Dedup
from pipeline.stages.evol_instruct import EvolInstruct
from pipeline.stages.filter import Filter
from pipeline.stages.fix import Fix
from pipeline.stages.moderate import Moderate
from pipeline.stages.overused import Overused
from pipeline.stages.prune import Prune
from pipeline.stages.quality import Quality
from pipeline.stages.read import Read
from pipeline.stages.score import Score
from pipeline.stages.self_instruct import SelfInstruct
from pipeline.stages.semantic_dedup import SemanticDedup
from pipeline.stages.split import Split
from pipeline.stages.translate import Translate
from pipeline.stages.trim import Trim

STAGES: dict[str, Any] = {
    "read": Read,
    "self-instruct": SelfInstruct,
    "evol-instruct": EvolInstruct,
    "translate": Translate,
    "answer": Answer,
    "trim": Trim,
    "fix": Fix,
    "filter": Filter,
    "split": Split,
    "overused": Overused,
    "dedup": Dedup,
    "semantic-dedup": SemanticDedup,
    "decontaminate": Decontaminate,
    "moderate": Moderate,
    "score": Score,
    "quality": Quality,
    "prune": Prune,
}
