"""How alike two texts are: tokens for comparison, the ROUGE-L novelty gate, shingles, MinHash and near-duplicates."""
