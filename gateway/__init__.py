"""The way in to running agents, and their one way out."""
