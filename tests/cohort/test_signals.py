from __future__ import annotations

import numpy as np
import pytest

from causalecg.cohort.signals import LEADS, SignalStore, SignalWriter, clean_record, resample, to_microvolts
from causalecg.errors import InputError


@pytest.fixture
def record() -> np.ndarray:
    """A 12-lead record that obeys Einthoven and Goldberger."""
    rng = np.random.default_rng(0)
    i, ii = rng.standard_normal((2, 1000)) * 0.3
    limb = [i, ii, ii - i, -(i + ii) / 2, i - ii / 2, ii - i / 2]
    return np.stack([*limb, *rng.standard_normal((6, 1000)) * 0.3])


def clean(signal, names=LEADS, *, rate_hz=100.0, samples=1000, **more):
    return clean_record(signal, names, rate_hz=rate_hz, to_hz=100.0, samples=samples, **more)


def test_a_sound_record_is_left_alone(record) -> None:
    found, flags = clean(record)
    assert flags == [] and np.array_equal(found, record)


def test_order_units_and_case(record) -> None:
    order = np.random.default_rng(1).permutation(12)
    found, flags = clean(record[order] * 1000, [LEADS[k].upper() for k in order], units=["uV"] * 12)
    assert flags == ["reordered"] and np.allclose(found, record, atol=1e-12)
    with pytest.raises(InputError, match="unknown voltage unit ounces"):
        clean(record, units=["ounces"] * 12)


@pytest.mark.parametrize("missing", ["I", "III", "aVF"])
def test_a_missing_limb_lead_is_derived_exactly(record, missing: str) -> None:
    keep = [k for k, name in enumerate(LEADS) if name != missing]
    found, flags = clean(record[keep], [LEADS[k] for k in keep])
    assert f"derived:{missing}" in flags
    assert np.allclose(found, record, atol=1e-12)


def test_a_missing_chest_lead_gaps_and_flat_leads(record) -> None:
    keep = [k for k in range(12) if LEADS[k] != "V4"]
    signal = record[keep].copy()
    names = [LEADS[k] for k in keep]
    signal[names.index("V2"), 100:103] = np.nan
    signal[names.index("V3")] = np.nan
    signal[names.index("V6")] = 0.4
    found, flags = clean(signal, names)
    assert {"missing:V4", "nan:V2", "nan:V3", "missing:V3", "flat:V6"} <= set(flags)
    row = {name: found[k] for k, name in enumerate(LEADS)}
    assert (row["V4"] == 0).all() and (row["V3"] == 0).all()
    a, b = record[LEADS.index("V2")][[99, 103]]
    assert np.allclose(row["V2"][99:104], np.linspace(a, b, 5))


@pytest.mark.parametrize("gap", [slice(None), slice(300, 321)])
def test_a_limb_lead_with_a_long_gap_is_derived_and_nothing_is_derived_from_it(record, gap: slice) -> None:
    signal = np.delete(record, LEADS.index("III"), axis=0)
    signal[LEADS.index("I"), gap] = np.nan
    found, flags = clean(signal, [lead for lead in LEADS if lead != "III"])
    assert flags == ["reordered", "nan:I", "derived:I", "derived:III"]
    assert np.allclose(found, record, atol=1e-12)


def test_gaps_up_to_a_fifth_of_a_second_are_interpolated(record) -> None:
    signal = record.copy()
    signal[6, 100:120] = np.inf
    signal[7, 980:] = np.nan
    signal[8, 200:221] = np.nan
    found, flags = clean(signal)
    assert flags == ["nan:V1", "nan:V2", "nan:V3", "missing:V3"]
    assert np.allclose(found[6, 99:121], np.linspace(record[6, 99], record[6, 120], 22))
    assert (found[7, 980:] == record[7, 979]).all() and (found[8] == 0).all()
    with pytest.raises(InputError, match="every lead has gaps longer"):
        clean(np.full_like(record, np.nan))


def test_flat_and_clipped_are_said_of_the_leads_own_samples(record) -> None:
    signal = record.copy()
    signal[6] = 0.5
    signal[6, 10] = np.nan
    signal[7, 10:12] = np.nan, 40.0
    signal[8] = 0.5
    flags = clean(signal, samples=1200)[1]
    assert flags == ["nan:V1", "nan:V2", "padded", "flat:V1", "clipped:V2", "flat:V3"]
    later = record.copy()
    later[6, :500] = 0.1
    assert clean(later, samples=500)[1] == ["cropped", "flat:V1"]


def test_units_with_blanks_and_both_micro_signs(record) -> None:
    for unit in (" uV ", "\u00b5V", "\u03bcV"):
        assert np.allclose(clean(record * 1000, units=[unit] * 12)[0], record, atol=1e-12)


@pytest.mark.parametrize("rate_hz", [0.0, -100.0, 0.01, float("nan"), float("inf")])
def test_a_rate_no_ecg_has_is_refused(record, rate_hz: float) -> None:
    with pytest.raises(InputError, match="sampling rate"):
        clean(record, rate_hz=rate_hz)


def test_length_and_range(record) -> None:
    assert clean(record, samples=900)[1] == ["cropped"]
    longer, flags = clean(record, samples=1100)
    assert flags == ["padded"] and (longer[:, 1000:] == 0).all()
    loud = record.copy()
    loud[6, 5] = 40.0
    assert "clipped:V1" in clean(loud)[1]
    with pytest.raises(InputError, match="none of the leads"):
        clean(record[:2], ["X", "Y"])


def test_resampling_keeps_a_slow_wave() -> None:
    t = np.arange(5000) / 500
    found = resample(np.sin(2 * np.pi * 5 * t)[None], 500, 100)[0]
    assert found.shape == (1000,)
    assert np.abs(found - np.sin(2 * np.pi * 5 * np.arange(1000) / 100))[10:-10].max() < 0.01


def test_the_store_is_lossless_to_half_a_microvolt(tmp_path, record) -> None:
    with SignalWriter(tmp_path, 3, 1000, 100.0) as writer:
        writer.write(1, record)
    store = SignalStore.open(tmp_path)
    assert (len(store), store.samples, store.rate_hz, store.leads) == (3, 1000, 100.0, LEADS)
    assert np.abs(store.read([1])[0] - record).max() <= 0.0005 + 1e-6
    assert (store.read([0, 2]) == 0).all()
    assert to_microvolts(np.array([40.0, np.nan, -40.0])).tolist() == [32767, 0, -32767]
    with pytest.raises(InputError, match="no readable signal store"):
        SignalStore.open(tmp_path / "x")


def test_a_record_that_is_not_in_millivolts_is_refused_and_one_bad_lead_is_not(tmp_path, record) -> None:
    with SignalWriter(tmp_path, 2, 1000, 100.0) as writer:
        with pytest.raises(InputError, match=r"record 1 of those given is not in mV: \d+% .* are they microvolts\?"):
            writer.write(slice(0, 2), np.stack([record, record * 1000]))
        with pytest.raises(InputError, match="the record has no sample that is a number"):
            writer.write(0, np.full_like(record, np.nan))
        with pytest.raises(InputError, match=r"shape \(1000,\) do not fit"):
            writer.write(0, record[0])
        saturated = record.copy()
        saturated[6] = 100.0
        saturated[7, 10] = np.nan
        writer.write(0, saturated)
        writer.write(1, np.zeros_like(record))
    assert (SignalStore.open(tmp_path).read([0])[0, 6] == np.float32(32.767)).all()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda x: x.astype(np.float32), "holds float32"),
        (lambda x: x[:, :8], r"has the shape \(3, 8, 50\); by signals.json it is \(ECGs, 12, 50\)"),
        (lambda x: x[..., :40], "has the shape"),
        (lambda x: x[0], "has the shape"),
        (lambda x: np.array({}), "no readable signal store"),
    ],
)
def test_a_store_that_is_not_what_its_record_says_is_refused(tmp_path, change, says: str) -> None:
    with SignalWriter(tmp_path, 3, 50, 100.0):
        pass
    np.save(tmp_path / "signals.npy", change(np.load(tmp_path / "signals.npy")), allow_pickle=True)
    with pytest.raises(InputError, match=says):
        SignalStore.open(tmp_path)


def test_a_store_cut_short_or_of_other_leads_is_refused(tmp_path) -> None:
    with SignalWriter(tmp_path, 3, 50, 100.0):
        pass
    about = (tmp_path / "signals.json").read_text()
    (tmp_path / "signals.json").write_text(about.replace('"V6"', '"V7"'))
    with pytest.raises(InputError, match="names the leads I, .* V7; a store has"):
        SignalStore.open(tmp_path)
    for text in ("[]", "{}", '{"rate_hz": null, "leads": []}'):
        (tmp_path / "signals.json").write_text(text)
        with pytest.raises(InputError, match="no readable signal store"):
            SignalStore.open(tmp_path)
    (tmp_path / "signals.json").write_text(about)
    whole = (tmp_path / "signals.npy").read_bytes()
    (tmp_path / "signals.npy").write_bytes(whole[:-100])
    with pytest.raises(InputError, match="no readable signal store"):
        SignalStore.open(tmp_path)
