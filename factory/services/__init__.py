"""What an operator can do: draft, validate, create, and read the catalogue."""
