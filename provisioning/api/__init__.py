"""What programs can ask about deployments."""
