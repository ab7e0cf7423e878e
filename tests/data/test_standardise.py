import numpy as np
import pytest

from bdistil.data.standardise import fit_standardisation

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("domain", "shape", "fitted", "axes"),
    [
        ("tabular", (500, 4), (4,), (0,)),
        ("image", (50, 3, 8, 6), (3, 1, 1), (0, 2, 3)),
        ("sequence", (50, 20, 5), (1, 5), (0, 1)),
    ],
)
def test_standardised_features_have_mean_0_and_deviation_1(domain, shape, fitted, axes):
    x = (7 + 3 * RNG.standard_normal(shape)).astype(np.float32)
    standardisation = fit_standardisation(x, domain)
    assert standardisation.shift.shape == standardisation.scale.shape == fitted
    assert standardisation.shift.dtype == standardisation.scale.dtype == np.float32
    standard = (x - standardisation.shift) / standardisation.scale
    np.testing.assert_allclose(standard.mean(axis=axes), 0, atol=1e-4)
    np.testing.assert_allclose(standard.std(axis=axes), 1, atol=1e-4)


@pytest.mark.parametrize("constant", [0.0, 0.1, -1e9, 1e-40])
def test_constant_features_keep_scale_1(constant):
    x = np.full((777, 1), constant, np.float32)
    assert fit_standardisation(x, "tabular").scale == 1


def test_a_tiny_but_real_spread_is_kept():
    x = np.array([[1e-8], [3e-8]], np.float32)
    np.testing.assert_allclose(fit_standardisation(x, "tabular").scale, 1e-8, rtol=1e-5)
