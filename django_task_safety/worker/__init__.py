"""From a message to its outcome: claim, body, settling, retries; and the keeper, which finds what was lost."""
