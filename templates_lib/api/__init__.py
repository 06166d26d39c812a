"""The library for programs: public and read-only."""
