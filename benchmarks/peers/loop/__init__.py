"""A good engineer's own eighty lines, kept honest: what a fleet is compared with first."""
