"""``degas-ray space``: what a search space holds and how large it is."""

import click

from degas_ray.cli.common import Verb, emit_json, json_option, print_facts, print_table


def _names(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(name.strip() for name in value.split(",") if name.strip())


@click.command(
    "space",
    cls=Verb,
    examples={
        "space": "the paper's space",
        "space -n 2 --json": "two normal maps a stage, as JSON",
        "space --normal-ops conv_1x1,conv_3x3,sep_conv_3x3": "fewer candidate operations",
    },
)
@click.option(
    "-n",
    "n",
    type=int,
    metavar="N",
    default=1,
    show_default=True,
    help="Normal feature maps between up-sampled ones, 1 to 3.",
)
@click.option(
    "--normal-ops", metavar="A,B,...", callback=_names, help="Candidates that keep the size.  [default: all 9]"
)
@click.option("--upsample-ops", metavar="A,B,...", callback=_names, help="Candidates that enlarge.  [default: all 4]")
@json_option
def command(n: int, normal_ops: tuple[str, ...] | None, upsample_ops: tuple[str, ...] | None, as_json: bool) -> None:
    """Count and list a search space: its maps, its connections and their candidate operations.

    "continuous" counts the supernet (one operation of every connection), "discrete" the genotypes after pruning.
    """
    from degas_ray.space import NORMAL_OPS, UPSAMPLE_OPS, Space

    space = Space(
        n=n,
        normal_ops=NORMAL_OPS if normal_ops is None else normal_ops,
        upsample_ops=UPSAMPLE_OPS if upsample_ops is None else upsample_ops,
    )
    rows = [
        {
            "source": connection.source,
            "target": connection.target,
            "residual": connection.residual,
            "stride": connection.stride,
            "operations": space.operations(connection),
        }
        for connection in space.connections
    ]
    sizes = {"continuous": space.continuous_size(), "discrete": space.discrete_size()}
    if as_json:
        ops = {"normal_ops": space.normal_ops, "upsample_ops": space.upsample_ops}
        emit_json({"n": space.n, **ops, "connections": rows, **sizes})
        return
    print_facts(
        {
            "normal maps a stage": str(space.n),
            "normal operations": ", ".join(space.normal_ops),
            "up-sample operations": ", ".join(space.upsample_ops),
            "continuous": f"{sizes['continuous']:,} (one operation on every connection)",
            "discrete": f"{sizes['discrete']:,} genotypes after pruning",
        }
    )
    print_table(
        ("connection", "kind", "stride", "operations"),
        [
            (
                f"{connection.source} → {connection.target}",
                "residual" if connection.residual else "direct",
                str(connection.stride),
                str(len(space.operations(connection))),
            )
            for connection in space.connections
        ],
        right=("stride", "operations"),
    )
