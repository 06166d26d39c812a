"""What each agent owns in the platform's servers: a queue in Redis, a memory in PostgreSQL."""
