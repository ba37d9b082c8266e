"""mosec: a server in Rust that batches for workers in Python."""
