"""Two versions of a dataset compared: what is in each, and what became of its rows."""
