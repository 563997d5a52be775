"""``causalecg score``: ask a model every item, as it is and under interventions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from causalecg.errors import InputError


def register(app: typer.Typer) -> None:
    @app.command()
    def score(
        model: Annotated[
            str, typer.Argument(help="Run folder, model folder, or package.module:function that returns a scorer.")
        ],
        cohort: Annotated[Path, typer.Option(help="Cohort folder.")],
        out: Annotated[Path, typer.Option(help="Score folder; more models may be added to it.")],
        split: Annotated[str, typer.Option(help="Comma-separated splits.")] = "test",
        interventions: Annotated[str, typer.Option(help="default, full, or a comma-separated list.")] = "default",
        role: Annotated[str | None, typer.Option(help="audited, unadjusted, question_only, oracle, ...")] = None,
        name: Annotated[str | None, typer.Option(help="Name of the model in the report.")] = None,
        severity: Annotated[str | None, typer.Option(help="Severity scale; a run brings its own.")] = None,
        build: Annotated[
            str | None,
            typer.Option(help="package.module:function that builds the module of your own that a run trained."),
        ] = None,
        environment: Annotated[str | None, typer.Option(help="Part of the cohort; a run brings its own.")] = None,
        max_items: Annotated[int | None, typer.Option(min=1, help="Only so many items, drawn at random.")] = None,
        further_items: Annotated[
            int | None,
            typer.Option(
                min=1,
                help="Of so many items, chosen at random, is asked what the default suite does not ask; 500 with "
                "--interventions full, else all.",
            ),
        ] = None,
        draws: Annotated[
            int | None, typer.Option(min=1, help="Donors or wordings per item; the full suite brings its own numbers.")
        ] = None,
        wordings: Annotated[
            Path | None,
            typer.Option(help="Your own wordings, for wording[user]: .csv with question (or question_id), rewording."),
        ] = None,
        free_text: Annotated[
            int | None,
            typer.Option(min=1, help="Let it write up to so many tokens, and read its answer from them."),
        ] = None,
        trust_remote_code: Annotated[
            bool,
            typer.Option("--trust-remote-code", help="Run Python code that comes with the model's language model."),
        ] = False,
        seed: Annotated[int, typer.Option(min=0, help="Of donors and wordings.")] = 0,
    ) -> None:
        """Score a model on a cohort, appending to a score folder."""
        import pandas as pd

        from causalecg.audits.interventions import FURTHER, USER, parse
        from causalecg.audits.loading import load_model
        from causalecg.audits.scoring import Answerer
        from causalecg.audits.scoring import score as score_
        from causalecg.audits.user_wordings import read_wordings, unasked
        from causalecg.cohort.schema import Cohort
        from causalecg.models.answering import FreeText
        from causalecg.training.tables import rows_of

        chosen = parse(interventions)
        supplied = None if wordings is None else read_wordings(wordings)
        if supplied is not None and USER not in interventions:
            raise InputError(f"--wordings is for the intervention {USER}; name it in --interventions")
        whole = interventions == "full"
        opened = Cohort.open(cohort)
        found = load_model(
            model,
            opened,
            severity=severity,
            environment=environment,
            build=build,
            trust_remote_code=trust_remote_code,
        )
        about = {**found.about, "role": role or found.about["role"]}
        scorer: Answerer = found.scorer
        if free_text is not None:
            scorer = FreeText(found.scorer, free_text)
            about["decoding"] = f"greedy, up to {free_text} tokens"
        splits = [part.strip() for part in split.split(",") if part.strip()]
        if not splits:
            raise InputError("--split names no split; give e.g. --split test,test_unbiased")
        tables = [
            rows_of(opened, part, environment=found.environment, template_ids=found.template_ids) for part in splits
        ]
        if supplied is not None:
            left = unasked(supplied, pd.concat(tables))
            if left:
                typer.echo(
                    f"note: {len(supplied) - len(left)} of the {len(supplied)} questions of {wordings} are asked; "
                    f"'{left[0]}' is not",
                    err=True,
                )
        if free_text is not None and any((table["kind"] == "set").any() for table in tables):
            typer.echo(
                "note: questions with a set of answers (kind 'set') are among these items; training on them teaches a "
                "run of this package which candidates to choose, and not to write them (docs/models.md)",
                err=True,
            )
        for part in splits:
            score_(
                scorer,
                opened,
                split=part,
                run_id=name or found.name,
                run=about,
                out=out,
                interventions=chosen,
                severity=found.severity,
                environment=found.environment,
                template_ids=found.template_ids,
                max_items=max_items,
                seed=seed,
                draws=draws or (FURTHER if whole else 1),
                further_items=further_items or (500 if whole else None),
                user_wordings=supplied,
            )
        typer.echo(f"scored {name or found.name} on {', '.join(splits)}: {out}")
