from own_process import environment_as_it_was

__all__ = ["environment_as_it_was"]
