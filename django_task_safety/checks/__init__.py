"""Django system checks: what makes the guarantees void, found before it does."""
