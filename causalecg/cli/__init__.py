"""The command line. Each command group is one file whose ``register`` adds it; heavy imports wait inside commands."""

from __future__ import annotations

import sys

import typer

from causalecg.cli import audit, cohort, compare, demo, fetch, listing, report, scm, score, train

EXIT_BAD_INPUT = 2


def build_app() -> typer.Typer:
    app = typer.Typer(
        name="causalecg",
        help="Train, adjust and audit ECG language models so that they answer from the ECG, and prove it.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    for group in (demo, cohort, scm, train, score, audit, compare, report, fetch, listing):
        group.register(app)
    return app


def main() -> None:
    """Entry point. Bad input, or a file that cannot be read or written, is one sentence and exit code 2.

    A defect keeps its traceback.
    """
    try:
        build_app()()
    except ValueError as error:
        if not is_bad_input(error):
            raise
        print(f"causalecg: {error}", file=sys.stderr)
        sys.exit(EXIT_BAD_INPUT)
    except OSError as error:
        about = f"{error.filename}: " if error.filename is not None else ""
        print(f"causalecg: {about}{error.strerror or error}; check the path and its rights", file=sys.stderr)
        sys.exit(EXIT_BAD_INPUT)


def is_bad_input(error: ValueError) -> bool:
    """Whether one of the three packages raised it as a user's mistake (by name: the classes are heavy to import)."""
    from causalecg.errors import InputError

    names = {"ContractError", "GraphError", "NotIdentified", "PositivityError", "TableError"}
    own = type(error).__module__.partition(".")[0] in {"causalecg", "adjusters", "structural_models"}
    return isinstance(error, InputError) or (own and type(error).__name__ in names)
