"""Issue 4's figures on the shared problems, and real data. They need ../shared: a plain clone has tests/reference."""

import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from ambient_cases import rmse
from scipy import io, sparse

import isthmus

SHARED = Path(__file__).parents[3] / "shared"
pytestmark = pytest.mark.skipif(not (SHARED / "checks").exists(), reason="an extra test: needs ../shared")


def shared(name, seed):
    sys.path.insert(0, str(SHARED / "checks"))
    import bench_data

    return getattr(bench_data, name)(seed=seed)


def oracle_mean(cells, ambient):
    """Posterior means under the true shares, profile, and mean profiles of the types."""
    observed, native, label = cells.X, cells.layers["native"], cells.obs["type"].cat.codes.to_numpy()
    profile = np.stack([np.asarray(native[label == k].sum(axis=0)).ravel() for k in range(label.max() + 1)])
    profile /= profile.sum(axis=1, keepdims=True)
    row = np.repeat(np.arange(cells.n_obs), np.diff(observed.indptr))
    rho = cells.obs["rho"].to_numpy()[row]
    own, soup = (1 - rho) * profile[label[row], observed.indices], rho * ambient[row, observed.indices]
    share = own / np.maximum(own + soup, 1e-30)
    return sparse.csr_matrix((observed.data * share, observed.indices, observed.indptr), observed.shape), share


@pytest.mark.parametrize("seed", [7, 1, 2])
def test_two_types_within_the_bars(seed):
    cells, droplets = shared("ambient", seed)
    fit, native = isthmus.remove_ambient(cells, droplets=droplets), cells.layers["native"]
    truth, observed = cells.obs["rho"].to_numpy(), cells.X
    ambient = np.broadcast_to(cells.var["ambient"].to_numpy(), cells.shape)
    best, share = oracle_mean(cells, ambient)
    drawn = np.random.default_rng(0).binomial(observed.data.astype(int), share)
    best_drawn = sparse.csr_matrix((drawn, observed.indices, observed.indptr), observed.shape)
    assert rmse(fit.denoised_mean, native) <= 1.03 * rmse(best, native)  # the issue asks for 1.05
    assert rmse(fit.denoised, native) <= 1.03 * rmse(best_drawn, native)
    assert rmse(fit.denoised_mean, native) <= 0.62 * rmse(observed, native)
    assert np.corrcoef(fit.rho, truth)[0, 1] >= 0.92
    assert np.abs(fit.rho - truth).mean() <= 0.021
    assert (np.abs(fit.rho - truth) <= 1.96 * fit.rho_se).mean() >= 0.88
    assert fit.denoised.minimum(native).sum() / native.sum() >= 0.945
    assert (fit.denoised > observed).nnz == 0
    table = fit.table("profile")
    p, total = cells.var["ambient"].to_numpy(), table["count"].sum()
    assert np.abs(table["prob"] - p).sum() <= 1.1 * np.sqrt(2 / np.pi) * np.sqrt(p * (1 - p) / total).sum()


def test_eight_types_in_two_batches_with_clusters_found():
    cells, droplets = shared("ambient_hard", 11)
    fit, native = isthmus.remove_ambient(cells, droplets=droplets, batch="batch"), cells.layers["native"]
    best, _ = oracle_mean(cells, fit.ambient[fit.batch])
    assert rmse(fit.denoised_mean, native) <= 1.05 * rmse(best, native)  # the issue asks for 1.15
    truth = cells.obs["rho"].to_numpy()
    assert np.corrcoef(fit.rho, truth)[0, 1] >= 0.97
    assert (np.abs(fit.rho - truth) <= 1.96 * fit.rho_se).mean() >= 0.88
    purity = pd.crosstab(fit.clusters, cells.obs["type"]).max(axis=1).sum() / cells.n_obs
    assert purity > 0.98


def ten_x(folder):
    """A 10x folder: genes x cells in Matrix Market, names beside it."""
    where = next(folder.rglob("matrix.mtx")).parent
    genes = pd.read_csv(where / "genes.tsv", sep="\t", header=None)[1].astype(str)
    names = pd.read_csv(where / "barcodes.tsv", sep="\t", header=None)[0].astype(str)
    counts = sparse.csr_matrix(io.mmread(where / "matrix.mtx").T.astype(np.float32))
    return ad.AnnData(counts, obs=pd.DataFrame(index=list(names)), var=pd.DataFrame(index=list(genes)))


@pytest.mark.filterwarnings("ignore::isthmus.IdentifiabilityWarning")  # 62 cells x 226 genes have few anchor genes
def test_soupx_toy_runs_and_is_sensible():
    raw, cells = (ten_x(SHARED / "data" / "soupx_toy" / f"{kind}_gene_bc_matrices") for kind in ("raw", "filtered"))
    fit = isthmus.remove_ambient(cells, droplets=raw)
    assert (fit.denoised - cells.X).max() <= 0
    assert 0.02 < 1 - fit.denoised_mean.sum() / cells.X.sum() < 0.15  # SoupX's own setting is 0.1
    assert fit.table("profile")["n_empty"][0] > 1_000


def test_what_soupx_removes():
    """SoupX adjustCounts, method subtraction, with the same profile, clusters and rho = 0.1 for every cell."""
    folder = SHARED / "data" / "oracles" / "soupx_toy"
    observed = pd.read_csv(folder / "toc.csv.gz", index_col=0).T
    removed = observed - pd.read_csv(folder / "adjusted_subtraction_clusters.csv.gz", index_col=0).T
    profile = pd.read_csv(folder / "soup_profile.csv", index_col=0)["est"]
    labels = pd.read_csv(folder / "metadata.csv", index_col=0)["clusters"].reindex(observed.index)
    fit = isthmus.remove_ambient(observed, profile=profile, labels=labels.to_numpy(), rho=np.full(len(observed), 0.1))
    ours = observed.to_numpy() - fit.denoised_mean.toarray()
    # SoupX takes rho N counts from every cluster whatever they are; a posterior share takes what they can be
    assert np.corrcoef(removed.sum(axis=0), ours.sum(axis=0))[0, 1] > 0.95
    assert np.corrcoef(removed.sum(axis=1), ours.sum(axis=1))[0, 1] > 0.85
    assert ours.sum() <= removed.to_numpy().sum()


@pytest.mark.filterwarnings("ignore::isthmus.IdentifiabilityWarning")  # two of four clusters lack anchor genes
def test_real_mouse_brain_droplets():
    droplets = ad.read_h5ad(SHARED / "data" / "mbrain_raw_sccb2" / "mbrain_raw.h5ad")
    cells = droplets[droplets.obs["n_umi"] >= 500].copy()
    fit = isthmus.remove_ambient(cells, droplets=droplets)
    assert (fit.denoised - cells.X).max() <= 0
    low, high = np.quantile(fit.rho, [0.05, 0.95])
    assert 0.005 < low < high < 0.2
    # one droplet is a red blood cell, half of whose UMI are Hbb-bs: a cell unlike its cluster is not called ambient
    red = int(np.argmax(cells[:, "Hbb-bs"].X.toarray()))
    assert fit.rho[red] < 0.3
    assert fit.rho_se[red] > 0.05
    assert fit.table("profile")["n_empty"][0] > 15_000


@pytest.mark.filterwarnings("ignore::isthmus.IdentifiabilityWarning")  # one cluster has 12 anchor proteins of 50
def test_scars_own_proteins():
    """Upstream asks for a mean Euclidean distance below 50; uncorrected it is 160."""
    folder = SHARED / "data" / "oracles" / "scar"
    observed = pd.read_csv(folder / "citeseq_raw_counts.csv.gz", index_col=0).to_numpy(dtype=float)
    native = pd.read_csv(folder / "citeseq_native_counts.csv.gz", index_col=0).to_numpy(dtype=float)
    profile = pd.read_csv(folder / "citeseq_ambient_profile.csv.gz", index_col=0).to_numpy(dtype=float).ravel()
    fit = isthmus.remove_ambient(observed, profile=profile)
    assert np.linalg.norm(fit.denoised.toarray() - native, axis=1).mean() < 40
    assert np.linalg.norm(fit.denoised_mean.toarray() - native, axis=1).mean() < 35


def test_scars_own_guides():
    """Upstream asks for the guide of each of 60 cells. One guide is that of a single cell: no cell may be held out."""
    folder = SHARED / "data" / "oracles" / "scar"
    counts = pd.read_csv(folder / "raw_counts.csv.gz", index_col=0).to_numpy(dtype=float)
    profile = pd.read_csv(folder / "ambient_profile.csv.gz", index_col=0).to_numpy(dtype=float).ravel()
    wanted = pd.read_csv(folder / "output_assignment.csv.gz", index_col=0)["sgRNAs"].to_numpy(dtype=int)
    left = isthmus.remove_ambient(counts, profile=profile, method="scar").denoised_mean.toarray()
    assert (left.sum(axis=1) > 0).all()
    np.testing.assert_array_equal(left.argmax(axis=1), wanted)
