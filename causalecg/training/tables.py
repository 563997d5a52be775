"""Which rows a run learns from, and the guard that keeps test rows out."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import pandas as pd

from causalecg.cohort.schema import HELD_OUT, TEST_SPLITS, TRAINING_SPLITS
from causalecg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from causalecg.cohort.schema import Cohort
    from causalecg.training.config import RunConfig

#: All environments of a cohort together, where one could be named.
ALL = "all"


def rows_of(
    cohort: Cohort, split: str, *, environment: str | None = None, template_ids: Sequence[str] = ()
) -> pd.DataFrame:
    """Items of a split, of one environment (or :data:`ALL`) and some templates.

    Raises InputError where there are none, for a template that the cohort has in no split, or where the cohort has
    several environments and none is named.
    """
    table = cohort.split(split)
    if template_ids:
        _require_templates(cohort, template_ids)
    have = environments(cohort)
    if environment is None and len(have) > 1:
        raise InputError(
            f"cohort {cohort.path} has the environments {', '.join(have)}; name one, or '{ALL}' for all together "
            "(environment = ... in the configuration)"
        )
    if environment not in (None, ALL):
        require_environment(cohort, environment)
    table = of_environment(table, environment)
    if template_ids:
        table = table[table["template_id"].isin(list(template_ids))]
    if table.empty:
        chosen = f"environment {environment}" if environment not in (None, ALL) else "these templates"
        raise InputError(f"cohort {cohort.path} has no items of {chosen} in split {split}")
    return table.reset_index(drop=True)


def _require_templates(cohort: Cohort, template_ids: Sequence[str]) -> None:
    have = sorted(map(str, cohort.items["template_id"].unique()))
    for name, near in _unknown(template_ids, have):
        raise InputError(
            f"no item of cohort {cohort.path} has the template_id '{name}' of template_ids; the nearest is '{near}'"
        )


def require_treatment(table: pd.DataFrame, treatment: str) -> None:
    """InputError where the treatment is no column of the items."""
    for name, near in _unknown([treatment], list(table.columns)):
        raise InputError(f"treatment = '{name}' is no column of the items; the nearest is '{near}'")


def _unknown(names: Iterable[str], have: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Those that are not among what there is, each with the nearest that is."""
    for name in names:
        if name not in have:
            yield name, difflib.get_close_matches(name, have, n=1, cutoff=0.0)[0]


def with_further_splits(table: pd.DataFrame, cohort: Cohort, splits: Sequence[str], config: RunConfig) -> pd.DataFrame:
    """The table with the rows of further splits behind it, of the same environment and templates; without those of
    splits that the cohort lacks, or that have none."""
    have = set(cohort.items["split"])
    parts = [cohort.split(name) for name in splits if name in have]
    parts = [of_environment(part, config.environment) for part in parts]
    if config.template_ids:
        parts = [part[part["template_id"].isin(list(config.template_ids))] for part in parts]
    return pd.concat([table, *parts], ignore_index=True) if parts else table


def of_environment(table: pd.DataFrame, environment: str | None) -> pd.DataFrame:
    """Items of one environment; all of them for ``None`` and :data:`ALL`."""
    return table if environment in (None, ALL) else table[table["environment"] == environment]


def without_held_out(tables: Sequence[pd.DataFrame], config: RunConfig, cohort: Cohort) -> list[pd.DataFrame]:
    """The tables (training and validation) without the items about held-out topics, and those of held-out templates.

    Raises InputError for a topic or template that no row of them is of, or where a table would be left without rows.
    """
    kept = list(tables)
    for column, key in HELD_OUT.items():
        names = getattr(config, key)
        have = sorted({str(name) for table in tables for name in table[column]}) if names else []
        for name, near in _unknown(names, have):
            raise InputError(
                f"no item to learn from in cohort {cohort.path} has the {column.removesuffix('_id')} '{name}', so it "
                f"cannot be held out; the nearest is '{near}'"
            )
        kept = [table[~table[column].isin(list(names))].reset_index(drop=True) for table in kept]
    for table, before in zip(kept, tables, strict=True):
        if table.empty:
            raise InputError(
                f"every item of split {before['split'].iloc[0]} of cohort {cohort.path} is held out; name fewer in "
                f"{' and '.join(HELD_OUT.values())}"
            )
    return kept


def require_environment(cohort: Cohort, environment: str) -> None:
    """InputError unless the cohort has it; see :func:`environments`."""
    have = environments(cohort)
    if environment not in have:
        raise InputError(f"cohort {cohort.path} has no environment '{environment}'; it has {', '.join(have) or 'none'}")


def environments(cohort: Cohort) -> tuple[str, ...]:
    """Names of the parts of a cohort that are split for themselves; empty where it is not so divided."""
    if "environment" not in cohort.items.columns:
        return ()
    return tuple(sorted(cohort.items["environment"].dropna().unique()))


def refuse_test_rows(table: pd.DataFrame, cohort: Cohort, config: RunConfig) -> None:
    """InputError when a table to learn from holds a test item, or an ECG or a patient of the test."""
    refuse_test_splits(table)
    tested = of_environment(cohort.items[cohort.items["split"].isin(TEST_SPLITS)], config.environment)
    patient_of = dict(zip(cohort.ecgs["ecg_id"], cohort.ecgs["patient_id"], strict=True))
    ecgs, patients = _named(tested, "ecg_ids"), _named(tested, "patient_ids")
    patients |= {patient_of[ecg] for ecg in ecgs if ecg in patient_of}
    rows = zip(table["item_id"], table["ecg_ids"], table["patient_ids"], strict=True)
    for item, own_ecgs, own_patients in rows:
        for ecg in own_ecgs:
            if ecg in ecgs:
                raise InputError(f"training row {item} holds ECG {ecg}, which is in the test; leave it out")
            patient = patient_of.get(ecg)
            if patient in patients:
                raise InputError(
                    f"training row {item} holds ECG {ecg} of patient {patient}, who is in the test; leave it out"
                )
        both = patients.intersection(own_patients)
        if both:
            raise InputError(f"training row {item} holds patient {min(both)}, who is in the test; leave it out")


def refuse_test_splits(table: pd.DataFrame) -> None:
    """InputError when a table to learn from holds a row of another split than :data:`TRAINING_SPLITS`."""
    strange = table.loc[~table["split"].isin(TRAINING_SPLITS)]
    if len(strange):
        first = strange.iloc[0]
        raise InputError(
            f"{len(strange)} of {len(table)} rows to learn from are test rows, e.g. {first['item_id']} of split "
            f"{first['split']}; train on {' or '.join(TRAINING_SPLITS)} only"
        )


def _named(table: pd.DataFrame, column: str) -> set[str]:
    return {name for names in table[column] for name in names}
