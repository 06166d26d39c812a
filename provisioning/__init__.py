"""Making a release run: deployments, steps, drivers, the engine, live progress."""
