"""Objects and their operations: ``note.operations``, what a delete does to them, what ``save()`` may bring back."""
