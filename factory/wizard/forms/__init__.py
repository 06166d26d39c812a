"""One form per step. ``clean`` has no effects: every form is validated again at the end."""
