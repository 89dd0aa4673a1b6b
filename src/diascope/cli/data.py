"""Commands about manifests."""

import typer

group = typer.Typer(
    help="Turn labelled pictures, published ones or your own, into a manifest; split and audit it.",
    no_args_is_help=True,
)
