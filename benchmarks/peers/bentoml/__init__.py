"""BentoML: a service with adaptive batching."""
