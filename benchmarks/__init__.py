"""Measured claims: each module prints JSON, runs its own baseline in the same process, and alternates with it."""
