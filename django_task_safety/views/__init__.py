"""What end users see of operations: their status, and how they are cancelled."""
