"""What a study came to: who leads it and what that is worth; its page, its tables, comparisons."""
