"""Pieces of work that have a folder: a search, a training, scores; alone or as jobs on Ray."""
