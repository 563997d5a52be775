"""The openecg encoder: ranks, resampling and amplitudes against scipy and numpy, states against the published codec."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.signal import resample
from scipy.stats import rankdata

from causalecg.benchmark.cohort import simulate_cohort
from causalecg.cohort.schema import Cohort
from causalecg.errors import InputError
from causalecg.models.codec_encoder import QUANTILES, WIDTH, CodecEncoder, amplitudes, at_rate, ranks
from causalecg.training.arms import Arm
from causalecg.training.config import RunConfig
from causalecg.training.encoder_pretraining import pretrain_encoder
from causalecg.training.run import check_arm, train


def records(n: int, samples: int) -> np.ndarray:
    """(n, 12, samples) random walks with stretches of equal values."""
    rng = np.random.default_rng(0)
    found = np.cumsum(rng.standard_normal((n, 12, samples)), axis=2) * 0.05
    found[..., 40:90] = found[..., 40:41]
    return np.round(found, 2)


def test_ranks_are_scipys() -> None:
    x = records(2, 300)
    wanted = (rankdata(x, axis=-1) - 1) / 299 * 2 - 1
    assert np.allclose(ranks(torch.from_numpy(x)).numpy(), wanted, atol=1e-12)


@pytest.mark.parametrize(("have", "want"), [(100, 500), (250, 500), (1000, 500), (500, 500)])
def test_resampling_is_scipys_of_the_mirrored_record(have: int, want: int) -> None:
    x = records(1, 10 * have)[0]
    mirrored = np.concatenate([x, x[:, ::-1]], axis=1)
    wanted = resample(mirrored, 2 * 10 * want, axis=1)[:, : 10 * want]
    found = at_rate(torch.from_numpy(x), have, want).numpy()
    # The frequency at half the lower rate is split over two bins by scipy; it is the last of thousands.
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < 5e-3 * x.std()


def test_a_slow_wave_keeps_its_shape() -> None:
    """Every frequency below both limits passes as it is: a cosine that fits the mirrored record, to rounding."""
    n = torch.arange(1000, dtype=torch.float64)
    fine = (torch.arange(5000, dtype=torch.float64)) / 5
    wave = lambda at: torch.cos(torch.pi * (at + 0.5) * 24 / 1000)  # noqa: E731
    assert torch.allclose(at_rate(wave(n)[None], 100, 500)[0], wave(fine), atol=1e-9)


def test_each_lead_read_and_the_amplitudes_have_places_of_their_own() -> None:
    torch.manual_seed(0)
    encoder = CodecEncoder(12, read=(1, 12)).eval()
    ecg = torch.from_numpy(records(3, 1000)).float()
    with torch.no_grad():
        tokens = encoder(ecg)
        scaled = encoder(3 * ecg)
    assert tokens.shape == (3, encoder.tokens, encoder.dim) == (3, 3, 2 * 2 * WIDTH + 12 * len(QUANTILES))
    filled = (tokens != 0).any(0)
    assert (filled.sum(0) == 1).all()  # every place of the width belongs to one token
    assert filled[0, : 2 * WIDTH].all() and filled[1, 2 * WIDTH : 4 * WIDTH].all()
    # The codec sees no amplitude, but for samples rounded to the microvolt; the quantiles do.
    assert (scaled[:, :2] - tokens[:, :2]).abs().mean() < 0.01 * tokens[:, :2].std()
    assert torch.allclose(scaled[:, 2], 3 * tokens[:, 2], atol=1e-4)
    x = ecg.double().numpy()
    wanted = np.moveaxis(np.quantile(x - np.median(x, axis=2, keepdims=True), QUANTILES, axis=2), 0, 2)
    assert np.allclose(amplitudes(torch.from_numpy(x)).numpy(), wanted, atol=1e-12)
    assert np.allclose(tokens[:, 2, 4 * WIDTH :].numpy(), wanted.reshape(3, -1), atol=1e-5)
    alone = encoder(ecg[1:2])
    assert torch.allclose(alone[0], tokens[1], atol=1e-5)


def test_what_it_cannot_read_is_said() -> None:
    for rate, samples, seconds in ((500, 1000, "2"), (100, 5000, "50"), (100, 1001, r"10\.01")):
        with pytest.raises(InputError, match=f"{samples} samples at rate_hz = {rate} are {seconds} s; give ECGs of"):
            CodecEncoder(12, rate_hz=rate)(torch.zeros(1, 12, samples))
    for read in ((1, 1), (13,)):
        with pytest.raises(ValueError, match="different leads of 12"):
            CodecEncoder(12, read=read)


def test_weights_that_were_not_fetched_are_asked_for(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CAUSALECG_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="run 'causalecg fetch openecg' \\(39 MB\\) first"):
        CodecEncoder(12).load_fetched()


@torch.no_grad()
def test_a_lead_that_is_off_says_the_same_at_any_level() -> None:
    encoder = CodecEncoder(12).eval()
    levels = torch.tensor([0.0, 0.123, -1.7])[:, None, None].expand(3, 12, 1000)
    tokens = encoder(levels)
    assert torch.equal(tokens[0], tokens[1]) and torch.equal(tokens[0], tokens[2])


def test_a_cohort_of_another_rate_or_length_is_refused_before_anything_is_trained(tmp_path) -> None:
    cohort = Cohort.open(simulate_cohort(tmp_path / "c", items=40, test_items=8, rho=0.9, rate_hz=50, progress=False))
    short = Cohort.open(
        simulate_cohort(tmp_path / "s", items=40, test_items=8, rho=0.9, rate_hz=50, seconds=4, progress=False)
    )
    usual = RunConfig(model={"encoder": "openecg"})
    other = RunConfig(model={"encoder": "openecg", "encoder_options": {"rate_hz": 50}})
    rate = r"reads ECGs at rate_hz = 100, .* sampled at 50 Hz; write encoder_options\.rate_hz = 50 in the table"
    for its, config, says in ((cohort, usual, rate), (short, other, "the cohort's ECGs last 4 s; make a cohort")):
        for refused in (
            lambda: train(its, "none", config, seed=0, out=tmp_path / "r", progress=False),  # noqa: B023
            lambda: check_arm(its, Arm.parse("none"), config),  # noqa: B023
            lambda: pretrain_encoder(its, "labels", config, seed=0, out=tmp_path / "r", progress=False),  # noqa: B023
        ):
            with pytest.raises(InputError, match=says):
                refused()
            assert not (tmp_path / "r").exists()
    check_arm(cohort, Arm.parse("none"), other)
