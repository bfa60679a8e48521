"""The stages, one file each; a recipe names them as this table does."""

from typing import Any

from pipeline.stages.dedup import Dedup
from pipeline.stages.filter import Filter
from pipeline.stages.fix import Fix
from pipeline.stages.prune import Prune
from pipeline.stages.read import Read

STAGES: dict[str, Any] = {
    "read": Read,
    "fix": Fix,
    "filter": Filter,
    "dedup": Dedup,
    "prune": Prune,
}
