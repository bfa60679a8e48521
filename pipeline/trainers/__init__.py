"""What trainers do with a file: their own rules, one trainer a file, applied before they are."""

from pipeline.trainers.axolotl import AXOLOTL
from pipeline.trainers.fastchat import FASTCHAT
from pipeline.trainers.llama_factory import LLAMA_FACTORY
from pipeline.trainers.openai_tuning import OPENAI
from pipeline.trainers.trainer import Trainer
from pipeline.trainers.trl import TRL
from pipeline.trainers.unsloth import UNSLOTH

TRAINERS: dict[str, Trainer] = {
    trainer.name: trainer for trainer in (LLAMA_FACTORY, AXOLOTL, TRL, UNSLOTH, FASTCHAT, OPENAI)
}
