"""``causalecg cohort``: what is learned from and tested on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from causalecg.errors import InputError

Out = Annotated[Path, typer.Option(help="Cohort folder to write; must not exist.")]
Seed = Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")]
Processes = Annotated[int, typer.Option(min=1, help="Processes.")]
PtbXL = Annotated[Path, typer.Option(help="Folder of PTB-XL v1.0.3 (CSV tables and WFDB records).")]
Rate = Annotated[float, typer.Option(min=50, max=1000, help="Sampling rate of the store, Hz.")]

Metadata = Annotated[
    str, typer.Option(help="Comma-separated columns of the ECG table told before every question: age, sex.")
]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Cohorts: real, real with imposed confounding, or simulated.", no_args_is_help=True)

    @group.command()
    def build(
        ecgqa: Annotated[Path, typer.Option(help="Folder of ECG-QA v1.0.2 for these ECGs (ptbxl or mimic-iv-ecg).")],
        out: Out,
        ptbxl: Annotated[
            Path | None, typer.Option(help="Folder of PTB-XL v1.0.3 (CSV tables and WFDB records).")
        ] = None,
        mimic: Annotated[
            Path | None,
            typer.Option(help="Or that of MIMIC-IV-ECG v1.0; patients.csv of MIMIC-IV tells age, sex."),
        ] = None,
        form: Annotated[str, typer.Option(help="paraphrased or template.")] = "paraphrased",
        severity: Annotated[str, typer.Option(help="Comma-separated severity scales.")] = "acuity,burden",
        metadata: Metadata = "",
        rate: Rate = 100.0,
        seed: Seed = 0,
        processes: Processes = 2,
    ) -> None:
        """ECG-QA's questions on the ECGs of PTB-XL or MIMIC-IV-ECG."""
        from causalecg.cohort.build import build_cohort

        build_cohort(
            out,
            ecgqa=ecgqa,
            ptbxl=ptbxl,
            mimic=mimic,
            form=form,  # type: ignore[arg-type]
            scales=_names(severity),
            metadata=_names(metadata),
            rate_hz=rate,
            seed=seed,
            processes=processes,
        )
        tell(out)

    @group.command()
    def statements(
        ptbxl: PtbXL,
        out: Out,
        rho: Annotated[float, typer.Option(help="P(answer agrees with style), 0.5 to 0.95.")] = 0.9,
        severity: Annotated[str, typer.Option(help="Severity scale that drives style and answer.")] = "acuity",
        topics: Annotated[
            str, typer.Option(help="Comma-separated SCP codes; by default all with enough patients.")
        ] = "",
        comparisons: Annotated[
            bool, typer.Option("--comparisons", help="Ask of two patients' ECGs: what does the second newly show?")
        ] = False,
        metadata: Metadata = "",
        rate: Rate = 100.0,
        seed: Seed = 0,
        processes: Processes = 2,
    ) -> None:
        """Questions about SCP statements of real ECGs, with imposed, recorded confounding."""
        from causalecg.cohort.statements import statements_cohort

        statements_cohort(
            out,
            ptbxl=ptbxl,
            rho=rho,
            scale=severity,
            topics=_names(topics),
            comparisons=comparisons,
            metadata=_names(metadata),
            rate_hz=rate,
            seed=seed,
            processes=processes,
        )
        tell(out)

    @group.command()
    def simulate(
        out: Out,
        regime: Annotated[str, typer.Option(help="'causalecg list regimes'.")] = "R1",
        rho: Annotated[
            float | None,
            typer.Option(help="P(finding agrees with style), 0.5 to below 1; default the regime's own, else 0.99."),
        ] = None,
        items: Annotated[int, typer.Option(min=8, help="Training items.")] = 4000,
        test_items: Annotated[int | None, typer.Option(min=1, help="Test items; default half as many.")] = None,
        d_prime: Annotated[float, typer.Option(help="Discriminability of the finding in the ECG.")] = 2.56,
        d_prime_severity: Annotated[
            float | None, typer.Option(help="That of severity, in the heart rate.", show_default="the regime's")
        ] = None,
        levels: Annotated[
            int | None, typer.Option(help="Levels of severity, 2 to 5.", show_default="the regime's")
        ] = None,
        tau: Annotated[
            float | None, typer.Option(help="Share of answers settled by the topic.", show_default="the regime's")
        ] = None,
        eta: Annotated[
            float | None, typer.Option(help="Share of answers flipped.", show_default="the regime's")
        ] = None,
        severity_error: Annotated[
            float | None, typer.Option(help="Share of severities recorded wrong.", show_default="the regime's")
        ] = None,
        shortcuts: Annotated[
            int | None, typer.Option(help="Styles that follow severity, 1 to 3.", show_default="the regime's")
        ] = None,
        kappa: Annotated[
            float | None,
            typer.Option(help="P(style's nuisance part = its content part).", show_default="the regime's"),
        ] = None,
        direct: Annotated[
            float | None, typer.Option(help="Share of answers settled by severity.", show_default="the regime's")
        ] = None,
        style_effect: Annotated[
            float | None, typer.Option(help="Share of answers settled by the style.", show_default="the regime's")
        ] = None,
        hidden: Annotated[
            float | None,
            typer.Option(help="Share of patients driven by something unmeasured.", show_default="the regime's"),
        ] = None,
        sites: Annotated[
            str, typer.Option(help="Comma-separated P(style = severity), one per site; each is an environment.")
        ] = "",
        twins: Annotated[int, typer.Option(min=0, help="Patients of split twins.")] = 0,
        train_twins: Annotated[
            int, typer.Option(min=0, help="Training items with a twin in split train_twins, to learn from.")
        ] = 0,
        anti: Annotated[
            bool, typer.Option("--anti", help="Also test_anti: the style is the answer's opposite.")
        ] = False,
        rate: Rate = 100.0,
        seed: Seed = 0,
        processes: Processes = 2,
    ) -> None:
        """Simulated 12-lead ECGs with the confounding dial; the truth beside them in truth.parquet and truth.json."""
        from causalecg.benchmark.cohort import simulate_cohort

        given = {
            "d_prime_severity": d_prime_severity, "levels": levels, "tau": tau, "eta": eta,
            "severity_error": severity_error, "shortcuts": shortcuts, "kappa": kappa, "direct": direct,
            "style_effect": style_effect, "hidden": hidden, "q": _probabilities(sites),
        }  # fmt: skip
        simulate_cohort(
            out,
            regime=regime,
            rho=rho,
            items=items,
            test_items=test_items,
            d_prime=d_prime,
            dials={name: value for name, value in given.items() if value is not None},
            twins=twins,
            train_twins=train_twins,
            anti=anti,
            rate_hz=rate,
            seed=seed,
            processes=processes,
        )
        tell(out)

    @group.command("import")
    def import_(
        ecgs: Annotated[
            Path, typer.Option(help="Table of ECGs (.csv, .jsonl, .parquet): ecg_id, patient_id, path, ...")
        ],
        items: Annotated[Path, typer.Option(help="Table of items: ecg_ids, question, answer, ...")],
        out: Out,
        wordings: Annotated[
            Path | None, typer.Option(help="Table of further wordings: question_id, question, style, held_out.")
        ] = None,
        severity: Annotated[
            list[str] | None,
            typer.Option(help="NAME=low,middle,high: words of the levels 0, 1, 2 in severity_NAME; may be repeated."),
        ] = None,
        split: Annotated[
            str, typer.Option(help="Shares of patients in train, valid, test; where items have no column split.")
        ] = "",
        name: Annotated[str | None, typer.Option(help="Of the cohort; by default that of --out.")] = None,
        metadata: Metadata = "",
        rate: Rate = 100.0,
        seconds: Annotated[float, typer.Option(min=1, max=3600, help="Length of every ECG in the store.")] = 10.0,
        seed: Seed = 0,
        processes: Processes = 2,
    ) -> None:
        """ECGs and questions of your own, from tables: docs/your_own_data.md."""
        from causalecg.cohort.own import import_cohort

        import_cohort(
            out,
            ecgs=ecgs,
            items=items,
            wordings=wordings,
            severity=_scales(severity or []),
            split=_shares(split),
            name=name,
            metadata=_names(metadata),
            rate_hz=rate,
            seconds=seconds,
            seed=seed,
            processes=processes,
        )
        tell(out)

    @group.command()
    def describe(
        cohort: Annotated[Path, typer.Argument(help="Cohort folder.")],
        graph: Annotated[
            str | None,
            typer.Option(help="Causal graph (preset or file); by default the cohort's, else severity_visible."),
        ] = None,
        permutations: Annotated[int, typer.Option(min=19, help="Of every permutation test.")] = 999,
        seed: Seed = 0,
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    ) -> None:
        """Counts, quality, answers, and whether the wording can be adjusted for by severity, before any training."""
        import json

        from causalecg.cohort.describe import describe_cohort
        from causalecg.cohort.schema import Cohort

        found = describe_cohort(
            Cohort.open(cohort), graph=graph, seed=seed, permutations=permutations, progress=not as_json
        )
        if as_json:
            typer.echo(json.dumps(found, indent=2))
            return
        counts = found["counts"]
        typer.echo(
            f"{found['name']}: {counts['items']:,} items, {counts['ecgs']:,} ECGs, {counts['skipped']:,} skipped"
        )
        for row in found["groups"]:
            tests = "; ".join(
                f"{t['tested']} on {scale}: chi2 {t['chi2']:.0f} on {t['df']} df"
                + (f", p {t['p']:.2g}" if t["p"] is not None else "")
                for scale, t in row["wording_on_severity"].items()
            )
            typer.echo(
                f"  {row['environment']:11} {row['split']:13} {row['items']:6,} items  {row['patients']:5,} patients  "
                f"{row['questions']:3} questions  {row['wordings']:3} wordings  "
                f"most frequent answer '{row['most_frequent_answer']}' {row['its_share']:.3f}  {tests}"
            )
        if found["quality"]:
            typer.echo("  signal policy: " + ", ".join(f"{flag} {n}" for flag, n in found["quality"].items()))
        tell_adjustability(found["adjustability"], found["severity_scales"])
        if found["items_without_severity"]:
            typer.echo(
                f"  {found['items_without_severity']:,} items have no severity (level -1): arms that need one refuse"
            )
        if found["selection"]:
            tell_selection(found["selection"])

    @group.command()
    def split(
        cohort: Annotated[Path, typer.Argument(help="Cohort folder to take items from.")],
        out: Out,
        by: Annotated[
            str, typer.Option(help="Within what the prior is changed: question_id or template_id.")
        ] = "question_id",
        test_share: Annotated[float, typer.Option(help="Of a question's items, at most.")] = 0.3,
        valid_share: Annotated[float, typer.Option(help="Of the training side's items.")] = 0.15,
        keep: Annotated[
            float, typer.Option(help="Share of frequent answers that goes to the test, and of rare ones that stays.")
        ] = 0.05,
        environment: Annotated[str | None, typer.Option(help="Only this environment; by default all together.")] = None,
        templates: Annotated[str, typer.Option(help="Comma-separated template_ids; by default all.")] = "",
        seed: Seed = 0,
        as_json: Annotated[bool, typer.Option("--json", help="Print the priors as JSON.")] = False,
    ) -> None:
        """Changed prior: answers that are frequent in training are rare in the test. Patients are in one split only."""
        import json

        from causalecg.cohort.changed_prior import changed_prior_cohort
        from causalecg.cohort.schema import Cohort

        changed_prior_cohort(
            out,
            cohort,
            by=by,  # type: ignore[arg-type]
            test_share=test_share,
            valid_share=valid_share,
            keep=keep,
            environment=environment,
            template_ids=_names(templates),
            seed=seed,
        )
        priors = Cohort.open(out).meta["priors"]
        if as_json:
            typer.echo(json.dumps(priors, indent=2))
            return
        tell(out)
        tell_priors(priors)

    app.add_typer(group, name="cohort")


def _names(text: str) -> list[str]:
    """The names in a comma-separated list."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _probabilities(text: str) -> tuple[float, ...] | None:
    """The numbers in a comma-separated list; None for an empty one."""
    try:
        return tuple(float(name) for name in _names(text)) or None
    except ValueError:
        raise InputError(
            f"--sites takes probabilities with commas between them, e.g. 0.9,0.95,0.99, not '{text}'"
        ) from None


def _scales(texts: list[str]) -> dict[str, list[str]]:
    """Severity -> words, of texts such as "acuity=low,middle,high"."""
    found: dict[str, list[str]] = {}
    for text in texts:
        name, equals, words = text.partition("=")
        if not equals or not name.strip() or name.strip() in found:
            raise InputError(f"--severity takes a name and words, low to high, each name once, not '{text}'; write "
                             "acuity=low,middle,high")  # fmt: skip
        found[name.strip()] = [word.strip() for word in words.split(",")]
    return found


def _shares(text: str) -> dict[str, float] | None:
    """train, valid and test of a text such as "0.7,0.15,0.15"; None for an empty one."""
    if not text:
        return None
    try:
        return dict(zip(("train", "valid", "test"), map(float, _names(text)), strict=True))
    except ValueError:
        raise InputError(
            f"--split takes the shares of train, valid and test, e.g. 0.7,0.15,0.15, not '{text}'"
        ) from None


def tell_priors(priors: dict[str, Any]) -> None:
    """One line per question: how often the answer most frequent in training is given in each split."""
    distance = priors["total_variation"]
    typer.echo(
        f"total variation from the training prior: test {_two(distance['test'])}, valid {_two(distance['valid'])}; "
        f"another answer is the most frequent in the test of {priors['reversed_questions']} of "
        f"{len(priors['questions'])} questions; {priors['lost_items']:,} items lost between splits"
    )
    typer.echo(
        f"  {priors['by']:14} {'items':>18}  most frequent in training: share in train, valid, test; total variation"
    )
    for row in priors["questions"]:
        splits = ("train", "valid", "test")
        items = "/".join(str(row["items"][name]) for name in splits)
        answer = row["most_frequent_in_train"]
        priors_of = [row["prior"][name] for name in splits] if answer is not None else []
        shares = ", ".join("none" if prior is None else f"{prior[answer]:.3f}" for prior in priors_of)
        far = row["total_variation"]["test"]
        told = f"'{answer}' {shares}; {'none' if far is None else format(far, '.3f')}"
        typer.echo(f"  {row['id']:14} {items:>18}  {told if answer is not None else 'not in training'}")


def tell_adjustability(found: dict[str, Any], scales: dict[str, list[str]]) -> None:
    """One line per severity scale and environment, then what to know about it; where there is none, why."""
    if not found["certificates"]:
        typer.echo(
            "  there are no training items, so that it cannot be told whether severity can be adjusted for"
            if scales
            else "  no severity is recorded, so there is none to adjust for; docs/your_own_data.md says how to give one"
        )
        return
    may = "may cause" if found["treatment_causes_outcome"] else "does not cause"
    typer.echo(
        f"  can severity be adjusted for? (training split; graph {found['graph']}: the question {may} the answer)"
    )
    for row in found["certificates"]:
        typer.echo(f"  {row['environment']:11} {row['scale']:9} {_numbers(row)}")
        typer.echo(f"  {'':11} {row['verdict']}")
        if row["decision"] == "not testable" and row.get("decision_without_effect"):
            typer.echo(f"  {'':11} if {row['treatment']} does not cause the answer: {row['decision_without_effect']}")
        for warning in row["warnings"]:
            typer.echo(f"  {'':11} warning: {warning}")
    for row in found["negative_controls"]:
        p = "not testable" if row["p"] is None else f"chi2 {row['chi2']:.0f} on {row['df']} df, p {row['p']:.2g}"
        typer.echo(
            f"  {row['environment']:11} {row['scale']:9} negative control: answers to {row['topic']} questions "
            f"({row['items']:,} items) on severity, {p}"
        )


def _numbers(row: dict[str, Any]) -> str:
    if "shares" not in row:
        return f"{row['items']:,} items"
    f, s = row["treatment"].removesuffix("_id"), row["shares"]

    def p(value: float | None) -> str:
        return "not tested" if value is None else f"p {value:.2g}"

    parts = [
        f"{f} on severity {p(row['p_dependence'])}",
        f"on answer given severity {p(row['sufficiency']['p_value'])} (Holm {p(row['p_sufficiency_holm'])})",
        f"smallest P({f} | severity) {row['positivity']['minimum']:.3f}",
        f"weights leave {s['severity']:.0%} of rows",
    ]
    rest = row["residual"]
    if rest is not None:
        limit = "" if rest["e_value_limit"] is None else f", limit {rest['e_value_limit']:.2f}"
        parts.append(
            f"strongest of {rest['contrasts']} risk ratios {_two(rest['adjusted'], 'infinite')} "
            f"(crude {_two(rest['crude'], 'infinite')}; E-value {_two(rest['e_value'], 'infinite')}{limit})"
        )
    return "; ".join(parts)


def _two(value: float | None, otherwise: str = "none") -> str:
    return otherwise if value is None else f"{value:.2f}"


def tell_selection(selection: dict[str, Any]) -> None:
    """Kept against known, one row per quantity."""
    known, kept = selection["known"], selection["kept"]
    typer.echo(f"  {'selection, of ' + selection.get('population', 'ECGs'):24} {'known':>10} {'kept':>10}")
    for name, value in known.items():
        form = ",d" if isinstance(value, int) else ".3f"
        typer.echo(f"  {name.replace('_', ' '):24} {value:>10{form}} {kept[name]:>10{form}}")


def tell(out: Path) -> None:
    """What was written, on one line, and what was left out, by reason."""
    import pandas as pd

    from causalecg.cohort.schema import Cohort

    opened = Cohort.open(out)
    counts = opened.meta["counts"]
    splits = ", ".join(f"{name} {n:,}" for name, n in counts["by_split"].items())
    typer.echo(f"{out}: {counts['ecgs']:,} ECGs, {counts['items']:,} items ({splits})")
    undefined = opened.meta.get("items_without_severity", 0)
    if undefined:
        typer.echo(f"{undefined:,} items have no severity (level -1): arms that need one refuse")
    if counts["skipped"]:
        reasons = pd.read_csv(out / "skipped.csv")["reason"].value_counts()
        listed = ", ".join(f"{n:,} x {reason}" for reason, n in reasons.head(5).items())
        typer.echo(f"{counts['skipped']:,} skipped (skipped.csv): {listed}")
