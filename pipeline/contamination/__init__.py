"""Texts of benchmarks found again in records: hashed n-grams of both, the rule that decides, and the evidence."""
