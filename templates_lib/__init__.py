"""The template library, and how a template becomes code."""
