"""The way in, for programs."""
