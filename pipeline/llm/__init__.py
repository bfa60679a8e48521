"""The wire: requests and replies, the client, the ledger of calls, limits, the embedded model, the fake provider."""
