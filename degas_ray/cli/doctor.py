"""``degas-ray doctor``: what is wrong with this machine, and what to do about it."""

from dataclasses import asdict
from pathlib import Path

import click

from degas_ray.cli.common import Verb, emit_json, home_option, json_option, wrapped

MARKS = {"ok": ("✓", "green"), "note": ("!", "yellow"), "fault": ("✗", "red")}


@click.command(
    "doctor",
    cls=Verb,
    examples={
        "doctor": "this machine, before the first study",
        "doctor cluster.yaml": "the hosts of a cluster too",
        "doctor --json": "for a script; the exit code is 1 where something will fail",
    },
)
@click.argument("cluster", required=False, metavar="[CLUSTER.YAML]", type=click.Path(path_type=Path))
@home_option
@json_option
@click.pass_context
def command(ctx: click.Context, /, cluster: Path | None, home: Path, as_json: bool) -> None:
    """Check this machine: Python, packages, GPU, cores, memory, disks, database, weights, ports; and a cluster's hosts.

    Every finding says what to do. Nothing is downloaded, and nothing written but caches in a home that is there. The
    exit code is 0 where studies will run and 1 where something will fail.
    """
    from degas_ray.doctor import examine

    findings = examine(home, cluster)
    faults = [finding.name for finding in findings if finding.state == "fault"]
    if as_json:
        emit_json({"healthy": not faults, "findings": [asdict(finding) for finding in findings]})
        ctx.exit(1 if faults else 0)
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        mark, colour = MARKS[finding.state]
        margin = width + 4
        told = [*wrapped(finding.found, margin), *(wrapped(f"→ {finding.advice}", margin) if finding.advice else [])]
        click.echo(f"{click.style(mark, fg=colour)} {finding.name.ljust(width)}  {told[0]}")
        for line in told[1:]:
            click.echo(" " * margin + line)
    click.echo(f"\n{len(faults)} will fail: {', '.join(faults)}" if faults else "\nStudies will run here.")
    ctx.exit(1 if faults else 0)
