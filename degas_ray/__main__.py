"""``python -m degas_ray`` is the command ``degas-ray``."""

from degas_ray.cli.main import main

main()
