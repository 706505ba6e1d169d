"""``python -m degas_ray.cli.reference`` prints docs/cli.md: every command's help, as click makes it."""

from collections.abc import Iterator

import click

from degas_ray.cli.main import main

HEAD = """\
# Commands

Made by `python -m degas_ray.cli.reference`; a test fails where it drifts. Results go to stdout, progress and errors to
stderr. Exit codes: 0 done, 1 failed, 2 wrong input (nothing has been written), 130 interrupted (go on with `--resume`).
"""
_WIDTH = 100


def page() -> str:
    """Return docs/cli.md."""
    return "\n".join([HEAD, *_sections(main, None, "degas-ray", level=2)])


def _sections(command: click.Command, parent: click.Context | None, name: str, level: int) -> Iterator[str]:
    settings = {**command.context_settings, "terminal_width": _WIDTH}
    context = click.Context(command, info_name=name, parent=parent, **settings)
    yield f"{'#' * level} {context.command_path}\n\n```text\n{command.get_help(context).rstrip()}\n```\n"
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            assert found is not None
            yield from _sections(found, context, child, min(level + 1, 3))


if __name__ == "__main__":
    print(page(), end="")
