"""Factor models in a minute: nine quarterly series of the United States, a global and two group factors, a forecast,
and a fit for each of two eras. Writes tables and plots to demo-output/. Run: make demo-all."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from anndata import AnnData
from statsmodels.datasets import macrodata

import isthmus.plotting

mpl.use("Agg")
OUTPUT = Path("demo-output")
SERIES = ["realgdp", "realcons", "realinv", "realgovt", "realdpi", "cpi", "m1", "tbilrate", "unemp"]
NOMINAL, RATES = {"cpi", "m1", "tbilrate"}, {"tbilrate", "unemp"}


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say what was done and how long it took."""
    start = time.perf_counter()
    yield
    print(f"\n== {what} ({time.perf_counter() - start:.1f} s)")


def read_macrodata() -> AnnData:
    macro = macrodata.load_pandas().data
    dates = [f"{year:.0f}-{3 * quarter - 2:02.0f}-01" for year, quarter in macro[["year", "quarter"]].to_numpy()]
    eras = ["1959-1983" if year < 1984 else "1984-2009" for year in macro["year"]]
    var = pd.DataFrame(
        {
            "factor": ["Nominal" if name in NOMINAL else "Real" for name in SERIES],
            "transform": ["diff" if name in RATES else "logdiff" for name in SERIES],
        },
        index=SERIES,
    )
    return AnnData(macro[SERIES].to_numpy(), obs=pd.DataFrame({"era": eras}, index=dates), var=var)


def main() -> None:
    OUTPUT.mkdir(exist_ok=True)
    with step("Reading macrodata from statsmodels (public domain)"):
        adata = read_macrodata()
    print(f"{adata.n_vars} series at {adata.n_obs} quarters, an AnnData.")

    with step("Fitting one global factor, and one for real and one for nominal series"):
        fit = isthmus.fit_factors(adata)
    print(fit.summary())
    shares = fit.table("decomposition").pivot(index="series", columns="source", values="share")
    print("\nWhat moves each series (shares of its variance):")
    print(shares.round(2).to_string())

    with step("Forecasting four quarters"):
        ahead = isthmus.forecast_factors(fit, 4)
    shown = ahead[ahead["name"].isin(["realgdp", "unemp"])]
    print(shown[["time", "name", "mean", "lower", "upper"]].to_string(index=False))

    with step("Fitting each era by itself"):
        eras = isthmus.fit_factors(adata, factors=1, batch="era")
    print(eras.table("stats")[["batch", "n_time", "log_likelihood", "n_iter", "status"]].to_string(index=False))

    with step("Writing tables and plots"):
        for name in ("factors", "loadings", "stats"):
            fit.table(name).to_csv(OUTPUT / f"factors_{name}.csv", index=False)
        isthmus.plotting.factor_ribbons(eras).figure.savefig(OUTPUT / "factors_eras.png", dpi=150)
        isthmus.plotting.loading_heatmap(fit).figure.savefig(OUTPUT / "factors_loadings.png", dpi=150)
    print("\n".join(str(path) for path in sorted(OUTPUT.glob("factors_*"))))


if __name__ == "__main__":
    main()
