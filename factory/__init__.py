"""Where an operator makes an agent: blueprints, validation, cost, the wizard, the pages."""
