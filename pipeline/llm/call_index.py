"""The index over the calls of a ledger's shard, by time."""

INDEX = """
CREATE INDEX IF NOT EXISTS calls_by_time ON calls (
    time, key, run, entry, role, model, outcome, prompt_tokens, completion_tokens, cost, sends, ms);
"""
"""All that is known of calls beside their texts, oldest first: sums and lists need not walk over the texts (150 MB of a
million calls instead of 4 GB). It grows at its end only, which costs a write about 4 us of CPU."""
