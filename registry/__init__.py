"""What an agent is: its specification, agents, releases, tools, secrets, lifecycle, health."""
