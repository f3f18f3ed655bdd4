"""Who owns what is running or locked, and until when."""
