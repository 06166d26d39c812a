"""Who: users, organisations, memberships with roles, API tokens."""
