"""Workers and queues as a whole: who is there, which settings they have, and why an operation does not move."""
