"""The end of a run: files that trainers load, with a dataset card, in one folder that is whole or absent."""
