"""A quality model: a fastText classifier that has learnt from a judge's scores, its threshold, and what it is worth."""
