"""What happened: domain errors, status changes, progress events and the audit trail."""
