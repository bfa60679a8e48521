"""Every signal of a file measured once, and thresholds applied afterwards to the numbers alone."""
