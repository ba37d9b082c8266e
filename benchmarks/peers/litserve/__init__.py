"""LitServe: FastAPI before workers that batch."""
