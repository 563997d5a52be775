from __future__ import annotations

import numpy as np
import pytest
import torch

from adjusters.contract import ContractError, negative_log_likelihood
from adjusters.registry import adjuster
from adjusters.shortcut_model import fusion, subtraction
from adjusters.shortcut_model.altered_ecg import with_noise
from adjusters.shortcut_model.view_subtraction import ViewSubtraction

FUSIONS = ("sum", "hm", "rubi")


def attached(items, scorers, seed: int = 0, **options):
    found = adjuster("effect_subtraction", **options).fit(items.table, None, rng=np.random.default_rng(0))
    scorer, new_scorer = scorers
    return found, found.attach(scorer, new_scorer=new_scorer, rng=np.random.default_rng(seed)).double()


def plain(scores: torch.Tensor, rows) -> list[list[float]]:
    return [z[: len(row["candidates"])] for z, row in zip(scores.tolist(), rows, strict=True)]


def equals_the_equation(items, scorers, name: str = "sum") -> None:
    import effect_subtraction_equation as equation

    found, objective = attached(items, scorers, reference="constant", fusion=name, weight=0.8)
    rows = items.plain("question", 1)
    at = {kind: items.of(kind) for kind in ("one", "set")}
    both = {kind: items.scores(scorers[0], at[kind]) for kind in at}
    chosen = {kind: [rows[i] for i in at[kind]] for kind in at}
    batches = {kind: items.batch(at[kind], **found.columns(items.table)) for kind in at}
    question = {k: plain(scorers[1].made[0](b.without_ecg()), chosen[k]) for k, b in batches.items()}
    for kind, batch in batches.items():
        terms = objective.loss(batch, "main", progress=0.0)
        true = equation.training(name, question[kind], both[kind], chosen[kind])
        assert terms.per_item.tolist() == pytest.approx(true, abs=1e-6)
        assert torch.equal(objective.validation_loss(batch), terms.per_item)
        terms.total.backward()
        assert torch.isfinite(scorers[0].table.grad).all()

    objective.width = max(batch.candidate_ids.shape[1] for batch in batches.values())  # one of padding
    with torch.no_grad():
        branches = torch.cat([objective.wanted(batch, "features:branches") for batch in batches.values()])
        objective.begin(found.stages()[1], None, {"branches": branches}, {})
    constant = float(objective.constant)
    everything = [[*d["one"], *d["set"]] for d in (question, both, chosen)]
    at_constant, below, above = (equation.divergence(name, *everything, constant + step) for step in (0.0, -0.01, 0.01))
    assert at_constant <= min(below, above)
    for kind, batch in batches.items():
        true = equation.indirect(name, question[kind], both[kind], chosen[kind], constant, 0.8)
        for ours, theirs in zip(plain(objective(batch), chosen[kind]), true, strict=True):
            assert ours == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("name", FUSIONS)
def test_counterfactual_subtraction_equals_the_equations(items, scorers, name: str) -> None:
    equals_the_equation(items, scorers, name)


@pytest.mark.parametrize("name", FUSIONS)
def test_another_fusion_is_noticed(items, scorers, monkeypatch, name: str) -> None:
    h = fusion.FUSIONS[name]
    monkeypatch.setitem(fusion.FUSIONS, name, lambda question, other: h(question, 0.9 * other))
    with pytest.raises(AssertionError):
        equals_the_equation(items, scorers, name)


def contrast_equals_the_equation(items, scorers, reference: str) -> None:
    import effect_subtraction_equation as equation

    _, objective = attached(items, scorers, reference=reference, weight=0.5)
    rows = items.plain("question", 1)
    for kind in ("one", "set"):
        at = items.of(kind)
        batch = items.batch(at)
        draw = torch.Generator().manual_seed(3)
        ecg = torch.randn(batch.ecg.shape, generator=draw, dtype=torch.float64)
        batch = batch.replace(ecg=ecg * batch.ecg_present[..., None, None])
        if reference == "mean":
            objective.wanted(batch, "features:sum_of_ecgs")
            mean = objective.ecg_sum / objective.ecgs
            assert torch.allclose(batch.ecg[:, 0].double().mean(0), mean) or kind == "set"
            altered = torch.zeros_like(batch.ecg)
            altered[:, 0] = mean
            without = scorers[0](batch.replace(ecg=altered))
        elif reference == "noise":
            draw = torch.Generator().manual_seed(int(objective.seed))
            noise = torch.randn(batch.ecg.shape[1:], generator=draw).tolist()
            altered = [equation.noised(ecg[0].tolist(), noise[0], 0.25) for ecg in batch.ecg]
            there = torch.zeros_like(batch.ecg)
            there[:, 0] = torch.tensor(altered, dtype=torch.float64)
            without = scorers[0](batch.replace(ecg=there))
        elif reference == "blank":
            without = scorers[0](batch.without_ecg())
        else:
            without = scorers[1].made[0](batch)
        chosen = [rows[i] for i in at]
        true = equation.contrasted(plain(scorers[0](batch), chosen), plain(without, chosen), chosen, 0.5)
        for ours, theirs in zip(plain(objective(batch), chosen), true, strict=True):
            assert ours == pytest.approx(theirs, abs=1e-6)
        assert torch.isneginf(objective(batch)[batch.padding]).all()


@pytest.mark.parametrize("reference", ["question", "blank", "noise", "mean"])
def test_contrast_equals_the_equation(items, scorers, reference: str) -> None:
    contrast_equals_the_equation(items, scorers, reference)


def test_noise_of_another_size_is_noticed(items, scorers, monkeypatch) -> None:
    monkeypatch.setattr(subtraction, "with_noise", lambda batch, share, seed: with_noise(batch, 0.5 * share, seed))
    with pytest.raises(AssertionError):
        contrast_equals_the_equation(items, scorers, "noise")


VIEWS = {"style": "style", "template": "template_id", "question": "question"}


def of_a_view_equals_the_equation(items, scorers, view: str = "style", restore: bool = True) -> None:
    import effect_subtraction_equation as equation

    options = {"bias_view": view, "prior": "counts", "smoothing": 0.7, "restore_prior": restore, "weight": 0.8}
    found, objective = attached(items, scorers, **options)
    assert not scorers[1].made and [stage.name for stage in found.stages()] == ["main"]
    rows = items.plain(VIEWS[view], 1)
    for kind in ("one", "set"):
        at = items.of(kind)
        batch = items.batch(at)
        chosen = [rows[i] for i in at]
        true = equation.less_the_view(items.scores(scorers[0], at), rows, chosen, 0.7, restore, 0.8)
        for ours, theirs in zip(plain(objective(batch), chosen), true, strict=True):
            assert ours == pytest.approx(theirs, abs=1e-6)
        terms = objective.loss(batch, "main", progress=0.0)
        assert torch.equal(terms.per_item, negative_log_likelihood(scorers[0](batch), batch))


@pytest.mark.parametrize("restore", [True, False])
@pytest.mark.parametrize("view", VIEWS)
def test_subtraction_of_a_view_equals_the_equation(items, scorers, view: str, restore: bool) -> None:
    of_a_view_equals_the_equation(items, scorers, view, restore)


def test_a_view_that_is_added_is_noticed(items, scorers, monkeypatch) -> None:
    without = ViewSubtraction.without_ecg
    monkeypatch.setattr(ViewSubtraction, "without_ecg", lambda self, batch: -without(self, batch))
    with pytest.raises(AssertionError):
        of_a_view_equals_the_equation(items, scorers)


def test_with_the_style_subtracted_the_topics_own_effect_stays(law) -> None:
    """P(A | E, T, do(F)) to the optimiser's accuracy, for a flexible scorer and all of the population; told nothing of
    the style, its placebo, it is the plain model."""
    learned = law.learned(adjuster("effect_subtraction", bias_view="style", smoothing=1e-9))
    assert np.abs(learned - law.truth[:, None, :]).max() < 1e-4
    placebo = law.learned(adjuster("effect_subtraction", bias_view="style", told="nothing"))
    assert np.abs(placebo - law.learned(adjuster("none"))).max() < 1e-9


def test_a_view_is_known_by_the_bare_question_and_nothing_is_subtracted_for_another(items, scorers) -> None:
    _, objective = attached(items, scorers, bias_view="style")
    batch = items.batch(items.of("one"))
    told = batch.replace(question=tuple(f"Age 50. {q}" for q in batch.question), metadata=("Age 50.",) * len(batch))
    assert torch.equal(objective.without_ecg(told), objective.without_ecg(batch))
    assert objective.without_ecg(batch).abs().max() > 0.1
    for unknown in ("Never asked?", None):
        assert not objective.without_ecg(batch.replace(question=(unknown,) * len(batch))).any()


def test_a_question_asked_in_two_styles_is_refused(items) -> None:
    table = items.table.assign(question="Well?")
    with pytest.raises(ContractError, match="style by its question, but 'Well\\?' was asked with several"):
        adjuster("effect_subtraction", bias_view="style").fit(table, rng=np.random.default_rng(0))


@pytest.mark.parametrize("column", ["candidates", "kind", "answer", "question", "style", "topic"])
def test_missing_columns_are_named(items, column: str) -> None:
    table, rng = items.table.drop(columns=column), np.random.default_rng(0)
    with pytest.raises(ContractError, match=f"effect_subtraction needs the column '{column}'"):
        adjuster("effect_subtraction", bias_view="style").fit(table, rng=rng)
    if column == "candidates":
        with pytest.raises(ContractError, match="effect_subtraction needs the column 'candidates'"):
            adjuster("effect_subtraction").fit(table, rng=rng)


def test_a_sum_in_place_of_the_contrast_is_noticed(items, scorers, monkeypatch) -> None:
    without = subtraction.BlankSubtraction.without_ecg
    monkeypatch.setattr(subtraction.BlankSubtraction, "without_ecg", lambda self, batch: -without(self, batch))
    with pytest.raises(AssertionError):
        contrast_equals_the_equation(items, scorers, "blank")


def test_contrastive_decoding_is_a_subtraction_at_another_temperature(items, scorers) -> None:
    """(1 + a) z - a z' = (1 + a) (z - a / (1 + a) z')."""
    a = 1.5
    _, objective = attached(items, scorers, reference="blank", weight=a / (1 + a))
    batch = items.batch(items.of("one"))
    intact, blank = (torch.log_softmax(scorers[0](b), 1) for b in (batch, batch.without_ecg()))
    decoded = (1 + a) * intact - a * blank
    there = ~batch.padding
    assert torch.allclose(decoded[there], (1 + a) * objective(batch)[there])


def test_noise_is_of_the_share_and_size_that_is_asked_for(items) -> None:
    batch = items.batch(items.of("one")[:2])
    ecg = torch.zeros(2, 2, 12, 5000)
    ecg[:, 0] = 0.3
    for share in (0.25, 1.0):
        batch = batch.replace(ecg=ecg)
        found = with_noise(batch, share, 0).ecg
        assert torch.equal(found, with_noise(batch, share, 0).ecg) and not found[:, 1].any()
        added = found[0, 0] - (1 - share) ** 0.5 * 0.3
        # The standard error of a standard deviation of n normal numbers is sd / sqrt(2 n).
        assert float(added.std()) == pytest.approx(0.3 * share**0.5, abs=4 * 0.3 * share**0.5 / np.sqrt(2 * 60000))


def test_implausible_candidates_stand_below_all_others(items, scorers) -> None:
    for kind in ("one", "set"):
        batch = items.batch(items.of(kind))
        before = attached(items, scorers, reference="blank")[1]
        after = attached(items, scorers, reference="blank", plausibility=0.3)[1]
        total, free, cut = before.effects(batch)[0], before(batch), after(batch)
        assert torch.isfinite(cut[~batch.padding]).all()
        if kind == "one":
            kept = (
                total >= total.masked_fill(batch.padding, -1e9).amax(1, keepdim=True) + np.log(0.3)
            ) & ~batch.padding
            assert torch.equal(cut[kept], free[kept]) and 0 < kept.sum() < (~batch.padding).sum()
            lowest = free.masked_fill(~kept, 1e9).amin(1, keepdim=True).expand_as(cut)
            out = ~kept & ~batch.padding
            assert (cut[out] <= lowest[out] - subtraction.CUT).all()
        else:
            sure = total.abs() > -np.log(0.3)
            assert torch.equal(cut[~sure & ~batch.padding], free[~sure & ~batch.padding])
            assert torch.equal(cut[sure & ~batch.padding].sign(), total[sure & ~batch.padding].sign())


@pytest.mark.parametrize("reference", ["question", "constant"])
def test_it_is_right_where_answers_are_equally_frequent(alike, reference: str) -> None:
    """Exactly with the question's own log-probabilities; with a learned constant, in its decisions."""
    learned = alike.learned(adjuster("effect_subtraction", reference=reference))
    if reference == "question":
        assert np.abs(learned - alike.truth[:, None, :]).max() < 1e-4
    assert np.array_equal(learned > 0.5, np.broadcast_to(alike.truth[:, None, :] > 0.5, learned.shape))


def test_it_takes_out_what_the_topic_truly_tells(law, alike) -> None:
    learned = law.learned(adjuster("effect_subtraction"))
    assert np.abs(learned[1] - learned[0]).max() < 1e-4 < np.abs(law.truth[1] - law.truth[0]).min()
    assert np.abs(learned - alike.truth[:, None, :]).max() < 1e-4


@pytest.mark.parametrize("reference", ["question", "constant"])
def test_told_nothing_it_learns_the_shortcut(alike, reference: str) -> None:
    """Its placebo. The question-only branch then knows the answers' frequencies, which are even here."""
    plain = alike.learned(adjuster("none"))
    learned = alike.learned(adjuster("effect_subtraction", reference=reference, told="nothing"))
    assert np.array_equal(learned > 0.5, plain > 0.5)


def test_nothing_before_the_question_is_subtracted(items, scorers) -> None:
    _, objective = attached(items, scorers)
    batch = items.batch(items.of("one"))
    asked = batch.replace(
        question=tuple(f"Age 50. {text}" for text in batch.question), metadata=("Age 50.",) * len(batch)
    )
    assert torch.equal(objective.without_ecg(asked), objective.without_ecg(batch))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"reference": "none"}, "reference is question"),
        ({"weight": 1.5}, "weight must be above 0"),
        ({"fusion": "sum"}, "for the constant reference"),
        ({"reference": "blank", "noise": 0.5}, "for the noise reference"),
        ({"reference": "noise", "noise": 0.0}, "for the noise reference"),
        ({"plausibility": 1.0}, "plausibility must be"),
        ({"told": "all"}, "told is question or nothing"),
        ({"bias_view": "hair"}, "bias_view is style, template, type, question"),
        ({"reference": "blank", "bias_view": "style"}, "reference=blank is the model's own scores"),
        ({"reference": "constant", "prior": "counts"}, "use reference=question"),
        ({"by": None}, "by has no role with bias_view=question, where a model"),
        ({"smoothing": 0.0, "bias_view": "style"}, "smoothing must be a positive number"),
    ],
)
def test_options_out_of_range_are_refused(options: dict, says: str) -> None:
    with pytest.raises(ContractError, match=says):
        adjuster("effect_subtraction", **options)
