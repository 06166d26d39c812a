"""Commands of the template library."""
