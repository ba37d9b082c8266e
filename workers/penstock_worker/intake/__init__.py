"""From the jobs topics to an engine: consuming, bounding, and remembering what may be committed."""
