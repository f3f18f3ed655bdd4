"""The operations' table: what is read of it, and the SQL by hand. The `ledger` alone changes states."""
