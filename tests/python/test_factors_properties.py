"""Properties that hold for any panel: transforms, layouts, rotations, expectations, news."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import isthmus
from isthmus.data.transforms import apply_transforms
from isthmus.factors import kernel
from isthmus.factors.align import normalising_map, transform_params, transform_states
from isthmus.factors.batches import Options, make_spec
from isthmus.factors.blocks import read_layout
from isthmus.factors.params import Params
from isthmus.factors.standard_errors import free_parameters
from isthmus.testing import simulate_panel

SEEDS = st.integers(0, 10_000)


def model(seed, multiplicities=(2, 1), order=1):
    """A layout of one global group and one of half the series, with stable random parameters and a panel."""
    rng = np.random.default_rng(seed)
    names = [f"y{i}" for i in range(7)]
    layout = read_layout(
        {name: ["G", "H"] if i < 4 else ["G"] for i, name in enumerate(names)},
        names,
        None,
        factor_multiplicities={"G": multiplicities[0], "H": multiplicities[1]},
        factor_orders=order,
    )
    spec = make_spec(layout, Options(), np.zeros(7, dtype=bool))
    transition, cov = [], []
    for block in spec.blocks:
        k = len(block.factors)
        a = rng.normal(size=(order, k, k))
        a *= 0.6 / (np.abs(a).sum(axis=(0, 2)).max() + 1e-9)
        root = rng.normal(size=(k, k)) + 2 * np.eye(k)
        transition.append(a)
        cov.append(root @ root.T)
    params = Params(
        loadings=np.where(spec.loads, rng.normal(size=spec.loads.shape), 0.0),
        transition=tuple(transition),
        innovation_cov=tuple(cov),
        idio_ar1=rng.uniform(-0.8, 0.8, 7),
        idio_var=rng.uniform(0.2, 2, 7),
    )
    y = rng.normal(size=(30, 7))
    y[rng.random(y.shape) < 0.15] = np.nan
    return layout, spec, params, y


@given(seed=SEEDS, k=st.integers(1, 3), order=st.integers(1, 2))
@settings(max_examples=25, deadline=None)
def test_normalising_keeps_the_likelihood_and_the_common_component(seed, k, order):
    layout, spec, params, y = model(seed, (k, 1), order)
    m, anchors = normalising_map(params, spec, layout)
    normal = transform_params(params, spec, m)
    before, after = (kernel.states(y, spec, p) for p in (params, normal))
    assert after.log_likelihood == pytest.approx(before.log_likelihood, abs=1e-6)
    mean, cov = transform_states(before.smoothed, before.smoothed_cov, m)
    np.testing.assert_allclose(mean, after.smoothed, atol=1e-6)
    np.testing.assert_allclose(cov, after.smoothed_cov, atol=1e-6)
    for group in layout.groups:
        rows = [anchors[factor] for factor in group.factors]
        triangle = normal.loadings[np.ix_(rows, group.factors)]
        np.testing.assert_allclose(np.triu(triangle, 1), 0, atol=1e-10)
        assert (np.diag(triangle) > 0).all()
    for q in normal.innovation_cov:
        np.testing.assert_allclose(q, np.eye(len(q)), atol=1e-10)


@given(k=st.integers(1, 3), h=st.integers(1, 2), order=st.integers(1, 2))
@settings(max_examples=12, deadline=None)
def test_identified_parameters_are_counted(k, h, order):
    layout, spec, params, _ = model(1, (k, h), order)
    _, anchors = normalising_map(params, spec, layout)
    expected = 7 * k - k * (k - 1) // 2 + 4 * h - h * (h - 1) // 2 + order * (k * k + h * h) + 7 + 7
    assert free_parameters(spec, layout, anchors).sum() == expected


@given(seed=SEEDS, kind=st.sampled_from(["none", "diff", "log", "logdiff", "pct"]), step=st.sampled_from([1, 3]))
@settings(max_examples=40, deadline=None)
def test_transforms_can_be_undone_and_keep_gaps(seed, kind, step):
    rng = np.random.default_rng(seed)
    x = np.exp(rng.normal(size=(20, 1)))
    x[rng.random(x.shape) < 0.1] = np.nan
    out = apply_transforms(x, [kind], steps=np.array([step]), names=["a"], times=[str(t) for t in range(20)])[:, 0]
    undone = {
        "none": lambda: out,
        "log": lambda: np.exp(out),
        "diff": lambda: np.r_[x[:step, 0], x[:-step, 0] + out[step:]],
        "logdiff": lambda: np.r_[x[:step, 0], x[:-step, 0] * np.exp(out[step:])],
        "pct": lambda: np.r_[x[:step, 0], x[:-step, 0] * (1 + out[step:] / 100)],
    }[kind]()
    both = ~np.isnan(undone)
    np.testing.assert_allclose(undone[both], x[both, 0], rtol=1e-10)
    assert (np.isnan(out) >= np.isnan(x[:, 0])).all()


@given(seed=st.integers(0, 500))
@settings(max_examples=6, deadline=None)
def test_order_of_the_series_does_not_matter(seed):
    panel = simulate_panel(80, 6, seed=seed, missing=0.05).to_df()
    turned = panel[list(panel.columns[::-1])]
    ours, theirs = (isthmus.fit_factors(p, factors=1) for p in (panel, turned))
    assert ours.log_likelihood == pytest.approx(theirs.log_likelihood, abs=0.05)
    wide = [abs(f.table("loadings").set_index("series")["loading"]) for f in (ours, theirs)]
    np.testing.assert_allclose(wide[0], wide[1][wide[0].index], atol=0.05)


@given(seed=st.integers(0, 500), lost=st.integers(1, 20))
@settings(max_examples=8, deadline=None)
def test_news_sum_to_the_change_whatever_is_new(seed, lost):
    rng = np.random.default_rng(seed)
    panel = simulate_panel(60, 4, seed=seed).to_df()
    old = panel.iloc[:58].copy()
    values = old.to_numpy().copy()
    values[rng.integers(0, 58, lost), rng.integers(0, 4, lost)] = np.nan
    old[:] = values
    table = isthmus.factor_news(isthmus.fit_factors(old, factors=1), panel, series="y2", time="2005-02-01")
    assert table["impact"].sum() == pytest.approx(table.attrs["after"] - table.attrs["before"], abs=1e-8)
