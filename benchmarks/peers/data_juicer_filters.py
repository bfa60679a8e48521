"""Data-Juicer's filters over texts: every statistic of every text, and the seconds of the chain as its users run it.

Run by benchmarks/rules.py in an environment of its own: python data_juicer_filters.py TEXTS.json OUT.json
"""

import importlib.metadata
import json
import sys
import time

from data_juicer.core.data import NestedDataset
from data_juicer.ops.filter.alphanumeric_filter import AlphanumericFilter
from data_juicer.ops.filter.average_line_length_filter import AverageLineLengthFilter
from data_juicer.ops.filter.character_repetition_filter import CharacterRepetitionFilter
from data_juicer.ops.filter.maximum_line_length_filter import MaximumLineLengthFilter
from data_juicer.ops.filter.special_characters_filter import SpecialCharactersFilter
from data_juicer.ops.filter.text_length_filter import TextLengthFilter
from data_juicer.ops.filter.word_repetition_filter import WordRepetitionFilter
from data_juicer.ops.filter.words_num_filter import WordsNumFilter
from data_juicer.utils.constant import Fields

OPERATORS = (
    AlphanumericFilter,
    AverageLineLengthFilter,
    MaximumLineLengthFilter,
    CharacterRepetitionFilter,
    WordRepetitionFilter,
    SpecialCharactersFilter,
    TextLengthFilter,
    WordsNumFilter,
)
"""Those that need no download. Flagged words and stop words fetch word lists, token counts a tokenizer, and language
scores a model of 126 MB."""


def main(source: str, target: str) -> None:
    with open(source, encoding="utf-8") as file:
        texts = json.load(file)
    statistics: dict[str, list[float]] = {}
    for operator in OPERATORS:
        sample = {"text": texts, Fields.stats: [{} for _ in texts]}
        for stats in operator().compute_stats_batched(sample)[Fields.stats]:
            for name, value in stats.items():
                statistics.setdefault(name, []).append(float(value))
    dataset = NestedDataset.from_list([{"text": text} for text in texts])
    begin = time.perf_counter()
    kept = dataset.process([operator() for operator in OPERATORS])
    seconds = time.perf_counter() - begin
    found = {
        "version": importlib.metadata.version("py-data-juicer"),
        "seconds": seconds,
        "kept": len(kept),
        "statistics": statistics,
    }
    with open(target, "w", encoding="utf-8") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main(*sys.argv[1:3])
