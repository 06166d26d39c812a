"""What every API view shares: sign-in, permissions, parsing, problems, pages."""
