"""What a run begins with must not have learned what the run is to be tested on, nor from ECGs of another form."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import pandas as pd

from causalecg.cohort.ecg_format import ECGFormat
from causalecg.cohort.schema import TEST_SPLITS, Cohort
from causalecg.errors import InputError
from causalecg.parquet import read_parquet
from causalecg.records import read_record
from causalecg.training.config import RunConfig
from causalecg.training.tables import of_environment, rows_of

#: In the folder of a run or a pre-trained encoder: ``source`` and ``patient_id`` of all whom its weights have learned
#: from or were chosen by, those of what it began with among them.
PATIENTS = "patients.parquet"


def require_beginning(cohort: Cohort, config: RunConfig) -> None:
    """InputError as of :func:`require_untested` and :func:`require_same_format`."""
    require_untested(cohort, config)
    require_same_format(cohort, config)


def require_untested(cohort: Cohort, config: RunConfig) -> None:
    """InputError where ``config.model.start`` is a run, or a pre-trained encoder, that held out less, or learned from a
    patient in the test of the cohort.

    Of a saved model without a record nothing is known.
    """
    if config.model.start is None:
        return
    start = begun_from(config.model.start)
    both = _tested_patients(cohort, config) & (_learned_before(config) or set())
    refuse_learned(both, cohort, str(start), "begin with a model of the same split by patient")
    if (start / "run.json").is_file():
        before = RunConfig.read(start / "config.json")
    elif (start / "pretraining.json").is_file():
        path = start / "pretraining.json"
        before = RunConfig.of(read_record(path)["config"], str(path))
    else:
        return
    require_held_out_before(config, before, str(start))


def require_same_format(cohort: Cohort, config: RunConfig) -> None:
    """InputError where ``config.model.start`` has learned from ECGs of another rate, length or number of leads. Of a
    model that does not say, nothing is known."""
    from causalecg.models.pretrained import saved_format

    if config.model.start is not None:
        before = saved_format(config.model.start)
        before.require(ECGFormat.of(cohort.signals), f"model.start: {config.model.start}", f"cohort {cohort.path}")


def refuse_other_formats(cohorts: Sequence[Cohort]) -> None:
    """InputError where a stage's ECGs are of another rate, length or number of leads than those of the stage before."""
    for before, cohort in pairwise(cohorts):
        own = ECGFormat.of(cohort.signals)
        ECGFormat.of(before.signals).require(own, f"the stage on cohort {before.path}", f"cohort {cohort.path}")


def refuse_learned(both: Collection[tuple[str, str]], cohort: Cohort, by: str, instead: str) -> None:
    """InputError where there are patients in the test of a cohort whom ``by`` learned from."""
    if both:
        source, patient = min(both)
        raise InputError(
            f"patient {patient} of {source} is in the test of cohort {cohort.path}, and {len(both)} such patients are "
            f"among those that {by} learned from; {instead}"
        )


def write_patients(out: Path, cohort: Cohort, config: RunConfig, tables: Iterable[pd.DataFrame]) -> None:
    """Record whom a run has learned from (tables with ``ecg_ids``); nothing where of what it began with it is not
    known."""
    before = _learned_before(config)
    if before is None:
        return
    learned = before.union(*(patients_of(cohort, table["ecg_ids"]) for table in tables))
    pd.DataFrame(sorted(learned), columns=["source", "patient_id"], dtype=str).to_parquet(out / PATIENTS, index=False)


def _learned_before(config: RunConfig) -> set[tuple[str, str]] | None:
    """Whom ``config.model.start`` has learned from; ``None`` where that is not known."""
    if config.model.start is None:
        return set()
    path = begun_from(config.model.start) / PATIENTS
    if not path.is_file():
        return None
    return read_patients(path)


def read_patients(path: Path) -> set[tuple[str, str]]:
    """(source, patient_id) of :data:`PATIENTS`. InputError where it cannot be read."""
    found = read_parquet(path)
    if not {"source", "patient_id"} <= set(found.columns):
        raise InputError(f"{path} lacks the columns source and patient_id; put back what the training wrote")
    return set(found[["source", "patient_id"]].itertuples(index=False, name=None))


def begun_from(start: str) -> Path:
    """The folder whose records tell of the weights that ``model.start`` names: of the run, where they are its own."""
    folder = Path(start)
    # Resolved, so that "." within it and a link to it are known as well.
    run = folder.resolve().parent
    return run if folder.resolve().name == "model" and (run / "run.json").is_file() else folder


def require_held_out_before(config: RunConfig, before: RunConfig, where: str) -> None:
    """InputError where a topic or template is held out now, and was not before. An encoder, which is asked nothing, was
    asked of no template either."""
    for key, names in config.held_out.items():
        learned = [name for name in names if name not in before.held_out[key]]
        if key == "held_out_templates" and before.template_ids:
            learned = [name for name in learned if name in before.template_ids]
        if learned:
            raise InputError(
                f"'{learned[0]}' is to be held out, but {where} may have learned of it; name it in {key} there"
            )


def refuse_tested_patients(cohorts: Sequence[Cohort], configs: Sequence[RunConfig]) -> None:
    """InputError where a patient to learn from in one stage is in the test of a later stage's cohort.

    Patients are the same where name and data set are; simulated ones are nobody's.
    """
    learned: dict[tuple[str, str], str] = {}
    for cohort, config in zip(cohorts, configs, strict=True):
        both = learned.keys() & _tested_patients(cohort, config)
        if both:
            source, patient = min(both)
            raise InputError(
                f"patient {patient} of {source} is in the test of cohort {cohort.path}, and {len(both)} such patients "
                f"are learned from in an earlier stage, on cohort {learned[source, patient]}; stages need cohorts of "
                "one split by patient"
            )
        for split in ("train", "valid"):
            table = rows_of(cohort, split, environment=config.environment, template_ids=config.template_ids)
            learned |= dict.fromkeys(patients_of(cohort, table["ecg_ids"]), str(cohort.path))


def _tested_patients(cohort: Cohort, config: RunConfig) -> set[tuple[str, str]]:
    rows = cohort.items[cohort.items["split"].isin(TEST_SPLITS)]
    return patients_of(cohort, of_environment(rows, config.environment)["ecg_ids"])


def patients_of(cohort: Cohort, ecg_ids: Iterable[Sequence[str]]) -> set[tuple[str, str]]:
    """(source, patient_id) of ECGs; of simulated ones nobody."""
    asked = {ecg for ids in ecg_ids for ecg in ids}
    ecgs = cohort.ecgs[cohort.ecgs["ecg_id"].isin(asked) & ~cohort.ecgs["source"].str.startswith("simul")]
    return set(zip(ecgs["source"].astype(str), ecgs["patient_id"].astype(str), strict=True))
