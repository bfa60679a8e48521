"""Numbers that describe a text, computed in bulk: shares of characters, words, lines and repeated runs.

The definitions are Data-Juicer's operators' and those of Gopher's appendix (Rae et al. 2021, table A1), with two
differences: a Chinese, Japanese or Thai character is a word of its own, so that the numbers mean something there, and
blank lines are not lines that repeat each other.
"""

from pipeline.measures.measure import MEASURES, measure

__all__ = ["MEASURES", "measure"]
