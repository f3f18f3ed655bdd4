"""From a call to a published message: its options and arguments, its row, and what a duplicate gets."""
