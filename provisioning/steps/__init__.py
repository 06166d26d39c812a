"""What a deployment consists of: one file per step, each with what it makes and how to undo it."""
