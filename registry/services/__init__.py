"""What the registry does for the rooms above it."""
