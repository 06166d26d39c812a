"""Making agents, for programs."""
