"""The images that agents' images are built on: the base, and the runtime on top of it."""
