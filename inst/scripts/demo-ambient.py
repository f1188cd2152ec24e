"""Ambient RNA in a minute: simulated droplets of two samples with known contamination, their profiles, the correction,
and how near it comes to the truth. Writes tables and plots to demo-output/. Run: make demo-all."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

import isthmus.plotting
from isthmus.testing import simulate_ambient

mpl.use("Agg")
OUTPUT = Path("demo-output")


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say what was done and how long it took."""
    start = time.perf_counter()
    yield
    print(f"\n== {what} ({time.perf_counter() - start:.1f} s)")


def main() -> None:
    OUTPUT.mkdir(exist_ok=True)
    with step("Simulating 800 cells and 6,000 empty droplets of two batches"):
        cells, droplets = simulate_ambient(800, 500, 6_000, n_types=3, n_batches=2, seed=1)
    with step("Profiles from the empty droplets"):
        profile = isthmus.ambient_profile(cells, droplets, batch="batch")
    print(profile.sort_values("prob", ascending=False).head(4).to_string(index=False))

    with step("Removing ambient RNA, clusters found"):
        fit = isthmus.remove_ambient(cells, profile=profile, batch=cells.obs["batch"])
    print(fit.summary())
    truth, native = cells.obs["rho"].to_numpy(), cells.layers["native"].toarray()
    before, after = (
        np.sqrt(np.mean((matrix.toarray() - native) ** 2)) for matrix in (cells.X.tocsr(), fit.denoised_mean)
    )
    correlation, error = np.corrcoef(fit.rho, truth)[0, 1], np.abs(fit.rho - truth).mean()
    print(f"\nShares: correlation with the truth {correlation:.3f}, mean error {error:.3f}")
    print(f"RMSE to the native counts: {before:.3f} before, {after:.3f} after")

    sets = {name: list(cells.var_names[cells.var["marker"] == name]) for name in ("type1", "type2", "type3")}
    print("\nShare of each type's markers that lies in other cells:")
    print(isthmus.ambient.marker_exclusivity(fit, cells, sets).to_string(index=False))

    with step("Writing tables and plots"):
        for name in ("cells", "genes", "levels"):
            fit.table(name).to_csv(OUTPUT / f"ambient_{name}.csv", index=False)
        umi = np.asarray(droplets.X.sum(axis=1)).ravel()
        draw = isthmus.plotting
        axes = {"knee": draw.ambient_knee(umi, profile)} | {
            name: getattr(draw, f"ambient_{name}")(fit) for name in ("rho", "native", "genes", "loss")
        }
        for name, ax in axes.items():
            ax.figure.savefig(OUTPUT / f"ambient_{name}.png", dpi=150)
            plt.close(ax.figure)
    print("\n".join(str(path) for path in sorted(OUTPUT.glob("ambient_*"))))


if __name__ == "__main__":
    main()
