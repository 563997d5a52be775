"""``causalecg fetch``: pretrained weights into a cache folder."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    @app.command()
    def fetch(
        name: Annotated[str, typer.Argument(help="smollm2 | openecg | minilm; see 'causalecg list weights'.")],
    ) -> None:
        """Download pretrained weights, pinned and hash-checked, and convert them once.

        They are kept in $CAUSALECG_CACHE, else in the user's cache folder.
        """
        from rich.console import Console

        from causalecg.models.weights.catalogue import named
        from causalecg.models.weights.fetch import fetch as fetch_

        weights = named(name)
        with Console(stderr=True).status(f"fetching {name}") as status:
            folder = fetch_(name, report=status.update)
        typer.echo(f"{folder}: {weights.summary}, {weights.licence}; used by {weights.use}")
