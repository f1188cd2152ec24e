"""isthmus in two minutes: RNA-seq counts of 85 people, a negative-binomial GLM of every gene, and a design that cannot
be estimated until one says how. Writes tables and a plot to demo-output/. Run: make demo-python."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

import isthmus
from isthmus.plotting import volcano

mpl.use("Agg")
DATA = Path(__file__).parents[1] / "extdata" / "human_gender"
OUTPUT = Path("demo-output")

# Genes on the Y chromosome, which women do not have: the answer that the data must give.
Y_LINKED = {
    "ENSG00000129824": "RPS4Y1",
    "ENSG00000114374": "USP9Y",
    "ENSG00000067646": "ZFY",
    "ENSG00000198692": "EIF1AY",
    "ENSG00000183878": "UTY",
    "ENSG00000012817": "KDM5D",
    "ENSG00000067048": "DDX3Y",
    "ENSG00000165246": "NLGN4Y",
}


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say what was done and how long it took."""
    start = time.perf_counter()
    yield
    print(f"\n== {what} ({time.perf_counter() - start:.1f} s)")


def read_people() -> AnnData:
    counts = pd.read_csv(DATA / "counts.csv.gz", index_col=0)
    people = pd.read_csv(DATA / "samples.csv", index_col=0).loc[counts.columns]
    return AnnData(
        sparse.csr_matrix(counts.to_numpy(dtype=float).T), obs=people.astype({"group": "category"}), var=counts[[]]
    )


def small(p: float) -> str:
    """A p-value below the smallest double is 0 in the table."""
    return "< 1e-307" if p == 0 else f"{p:.1e}"


def show_top(test: pd.DataFrame, n: int = 10) -> None:
    """The best genes, with fold changes and p-values as one reads them."""
    top = test.sort_values("pval", kind="stable").head(n)
    shown = pd.DataFrame(
        {
            "gene": [Y_LINKED.get(gene, gene) for gene in top["gene"]],
            "mean": top["mean"].round(1),
            "log2fc": top["log2fc"].round(2),
            "ci_95": [
                f"[{low:.2f}, {high:.2f}]"
                for low, high in (top[["ci_low", "ci_high"]] / np.log(2)).itertuples(index=False)
            ],
            "p": top["pval"].map(small),
            "padj": top["padj"].map(small),
            "status": top["status"],
        }
    )
    print(shown.to_string(index=False))


def save_volcano(test: pd.DataFrame, path: Path) -> None:
    named = test.assign(gene=test["gene"].replace(Y_LINKED))
    axes = volcano(named, n_labels=8)
    axes.set(title="Men against women, 85 people", xlabel="log2 fold change (men / women)")
    axes.figure.savefig(path, dpi=150)


def main() -> None:
    OUTPUT.mkdir(exist_ok=True)
    with step("Reading RNA-seq counts of lymphoblastoid cell lines (DEGreport, MIT licence)"):
        adata = read_people()
    groups = ", ".join(f"{name}: {n}" for name, n in adata.obs["group"].value_counts().sort_index().items())
    print(f"{adata.n_vars:,} genes in {adata.n_obs} people ({groups}), an AnnData.")

    with step("Fitting each gene: counts ~ group, negative binomial"):
        fit = isthmus.fit_glm(adata, "~ group", size_factors="sizeFactor")
    print(fit.summary())

    with step("Testing men against women"):
        test = isthmus.test_glm(fit, "group[T.Male]")
    show_top(test)
    leaders = test.sort_values("pval", kind="stable")["gene"].head(8)
    print(
        f"{int((test['padj'] < 0.05).sum())} genes differ at an adjusted p below 0.05; "
        f"{int(leaders.isin(list(Y_LINKED)).sum())} of the first 8 lie on the Y chromosome."
    )

    with step("Writing the tables and the volcano plot"):
        test.to_csv(OUTPUT / "test_group.csv", index=False)
        fit.table("coefficients").to_csv(OUTPUT / "coefficients.csv", index=False)
        fit.table("genes").to_csv(OUTPUT / "genes.csv", index=False)
        save_volcano(test, OUTPUT / "volcano.png")
    print("\n".join(str(path) for path in sorted(OUTPUT.iterdir())))

    # A design that fails: suppose that two plates held the women's samples only, and two the men's.
    turn = adata.obs.groupby("group", observed=True).cumcount() % 2
    adata.obs["plate"] = "p" + (1 + 2 * (adata.obs["group"] == "Male").astype(int) + turn).astype(str)
    print("\nSuppose the samples had been processed on four plates, each with one sex only:")
    print(pd.crosstab(adata.obs["group"], adata.obs["plate"]))
    with step("Fitting counts ~ group + plate must fail"):
        try:
            isthmus.fit_glm(adata, "~ group + plate", size_factors="sizeFactor")
        except isthmus.InputError as error:
            problem = str(error)
    print(problem)

    with step("Fitting it with the constraint: the plates of each sex average to zero"):
        constrained = isthmus.fit_glm(
            adata, "~ group + plate", constraints={"plate": "group"}, size_factors="sizeFactor"
        )
    print(constrained.summary())
    constrained_test = isthmus.test_glm(constrained, "group[T.Male]")
    show_top(constrained_test, 8)
    constrained_test.to_csv(OUTPUT / "test_group_given_plates.csv", index=False)
    effects = constrained.coef("mean").loc[[f"plate[p{k}]" for k in (1, 2, 3, 4)]].to_numpy()
    largest = np.nanmax(np.abs([effects[0] + effects[1], effects[2] + effects[3]]))
    print(
        f"In every gene the plates' effects cancel within each sex (largest sum {largest:.0e}): estimated, not ignored."
    )


if __name__ == "__main__":
    main()
