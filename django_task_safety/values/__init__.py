"""Values: as text, as references, as keys, as identities of objects, and as times."""
