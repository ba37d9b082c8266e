"""MLServer: the Open Inference Protocol over REST, with adaptive batching."""
