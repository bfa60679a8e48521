"""What we judge and mend: pure rules over columns, no I/O, no model call."""
