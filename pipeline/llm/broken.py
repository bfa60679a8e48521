"""The fault of a reply that came whole and says nothing."""


class Broken(Exception):
    """A reply that cannot be read, though the server says all is well; worth another attempt."""
