"""Differentiable generator search (DEGAS) as a search cluster tool driven by Ray Tune."""
