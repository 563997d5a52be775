from __future__ import annotations

import pytest
import rebias_equation
import torch

from adjusters.contract import ContractError
from adjusters.shortcut_model import hsic
from adjusters.shortcut_model.hsic import dependence, gaussian_kernel, scaled, unbiased_cka, unbiased_hsic


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear(features: torch.Tensor) -> torch.Tensor:
    return features @ features.T


def check_quadruples(kernel, m: int) -> None:
    k, l = kernel(normal(m, 3)), kernel(normal(m, 2, seed=1) + normal(m, 3)[:, :2])  # noqa: E741
    assert unbiased_hsic(k, l).item() == pytest.approx(rebias_equation.hsic(k.tolist(), l.tolist()), abs=1e-10)


@pytest.mark.parametrize("m", [6, 7, 8])
@pytest.mark.parametrize("kernel", [linear, gaussian_kernel])
def test_it_is_the_mean_over_distinct_quadruples(kernel, m: int) -> None:
    check_quadruples(kernel, m)


def test_a_diagonal_subtracted_from_every_row_is_no_zero_diagonal(monkeypatch) -> None:
    """What ReBias's released code does. With ones on the diagonal all entries shift alike, which HSIC does not see; with
    a linear kernel it is another number."""
    monkeypatch.setattr(hsic, "without_diagonal", lambda kernel: kernel - torch.diag(kernel))
    check_quadruples(gaussian_kernel, 7)
    with pytest.raises(AssertionError):
        check_quadruples(linear, 7)


def test_independent_features_have_none_on_average() -> None:
    """Within three standard errors of 400 draws of 12 rows; the biased estimate would be far off."""
    found = torch.stack(
        [unbiased_hsic(gaussian_kernel(normal(12, 2, seed=i)), gaussian_kernel(normal(12, 2, seed=10_000 + i)))
         for i in range(400)]
    )  # fmt: skip
    assert abs(found.mean()) < 3 * found.std() / 20
    assert found.min() < 0 < found.max()


def test_a_copy_is_fully_aligned_and_a_constant_is_not_dependent() -> None:
    k = gaussian_kernel(normal(9, 2))
    assert unbiased_cka(k, k).item() == pytest.approx(1.0)
    assert unbiased_cka(k, torch.ones_like(k)).item() == 0.0
    x = normal(9, 2).requires_grad_()
    for measure in ("hsic", "cka"):
        found = dependence(x, torch.full((9, 1), 3.0, dtype=torch.float64), torch.zeros(9, dtype=torch.long), measure)
        (gradient,) = torch.autograd.grad(found, x, retain_graph=True)
        assert found.item() == pytest.approx(0.0, abs=1e-12) and bool(torch.isfinite(gradient).all())
        (gradient,) = torch.autograd.grad(dependence(0 * x, normal(9, 1), torch.zeros(9), measure), x)
        assert bool(torch.isfinite(gradient).all()), "at the start of a model that says nothing"


@pytest.mark.parametrize("measure", ["hsic", "cka"])
def test_neither_shift_scale_nor_order_changes_it(measure) -> None:
    x, classes = normal(30, 3), torch.arange(30) % 2
    y = x[:, :2] ** 2 + 0.3 * normal(30, 2, seed=1)
    found = dependence(x, y, classes, measure)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(dependence(x[order], y[order], classes[order], measure), found)
    assert torch.allclose(dependence(100 * x + 5, 0.01 * y - 1, classes, measure), found)
    assert found > dependence(x, y[order], classes, measure)


def test_the_penalty_cannot_be_escaped_by_larger_features() -> None:
    """With a fixed bandwidth it can: at ten times the scale nothing is left of it. Here scale has no gradient either."""
    f = normal(40, 16)
    g = f[:, :4] + 0.1 * normal(40, 4, seed=1)
    of_g = gaussian_kernel(g)

    def fixed(features: torch.Tensor) -> torch.Tensor:
        return torch.exp(-hsic.squared_distances(features) / 2)

    assert unbiased_hsic(fixed(3 * f), of_g).abs() < 1e-3 * unbiased_hsic(fixed(0.3 * f), of_g)
    one = torch.zeros(40, dtype=torch.long)
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    for measure in ("hsic", "cka"):
        found = dependence(scale * f, g, one, measure)
        (gradient,) = torch.autograd.grad(found, scale)
        assert abs(gradient) < 1e-9 and found > 1e-3
    x = f.clone().requires_grad_()  # a median without gradient does not suffice: the features themselves are scaled
    gaussian_kernel(scale * x).sum().backward()
    assert scale.grad is not None and abs(scale.grad) > 1.0


def test_the_bandwidth_has_no_gradient() -> None:
    x = scaled(normal(12, 2)).requires_grad_()
    distances = hsic.squared_distances(x.detach())
    bandwidth = distances[distances > 1e-12].median()
    (found,) = torch.autograd.grad(gaussian_kernel(x)[0, 1:].sum(), x)
    (wanted,) = torch.autograd.grad(torch.exp(-hsic.squared_distances(x) / (2 * bandwidth))[0, 1:].sum(), x)
    assert torch.allclose(found, wanted)


def test_small_classes_do_not_count_and_fewer_than_four_rows_are_refused() -> None:
    x, y = normal(9, 2), normal(9, 1, seed=1)
    classes = torch.tensor([0] * 6 + [1] * 3)
    assert torch.equal(dependence(x, y, classes, "hsic"), dependence(x[:6], y[:6], classes[:6], "hsic"))
    assert dependence(x[:3], y[:3], classes[:3], "hsic") == 0.0
    with pytest.raises(ContractError, match="at least 4 rows, not 3"):
        unbiased_hsic(torch.ones(3, 3), torch.ones(3, 3))


@pytest.mark.parametrize("measure", ["hsic", "cka"])
def test_one_row_that_differs_is_no_dependence_and_two_are(measure: str) -> None:
    """In the class of one answer, a single row in the rare style: the estimate is zero whatever else there is."""
    x, classes = normal(12, 3), torch.zeros(12, dtype=torch.long)
    x[0] += 3.0
    style = torch.zeros(12, 1, dtype=torch.float64)
    style[0] = 1.0
    assert dependence(x, style, classes, measure).abs() < 1e-12
    x[1] += 3.0
    style[1] = 1.0
    assert dependence(x, style, classes, measure) > 1e-3
