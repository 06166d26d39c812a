"""The wizard: six steps from a template to a deployed agent."""
