"""Management commands of the factory."""
