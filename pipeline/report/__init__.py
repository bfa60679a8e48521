"""What people read of a run: the funnel, rows, the history of one record, progress on the terminal."""
