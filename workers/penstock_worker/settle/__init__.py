"""From an engine's answers to settled jobs: outcomes and dead letters published and confirmed."""
