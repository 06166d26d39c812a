"""What an agent remembers: contexts, stored and found again."""
