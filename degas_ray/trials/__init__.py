"""What a study's workers do: trials, re-rankings, the yardstick, promotions; and how trials are proposed."""
