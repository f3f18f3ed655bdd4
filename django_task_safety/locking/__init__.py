"""Named locks on objects, held by blocks of code."""
