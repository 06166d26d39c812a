"""A throw-away copy of an agent with mocked tools: scenarios, logs, metrics, verdict."""
