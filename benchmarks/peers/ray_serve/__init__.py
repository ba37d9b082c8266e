"""Ray Serve: deployments behind a proxy."""
