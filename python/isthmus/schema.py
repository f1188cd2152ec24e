"""Every column of every table: type, unit, meaning, and when it is missing.

Read by the docs, the tables and both test suites.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Mapping


class Column(NamedTuple):
    """One column: numpy dtype name ("str" for text), unit ("" for none), meaning, and when it is NaN or missing."""

    dtype: str
    unit: str
    meaning: str
    missing: str = "never"


_GENE = Column("str", "", "gene name")
_STATUS = Column("str", "", "first that applies: all_zero, separated, not_converged, poisson_limit, ok")
_MODEL = Column("str", "", '"mean" (log mu) or "dispersion" (log alpha)')

GLM_COEFFICIENTS = {
    "gene": _GENE,
    "model": _MODEL,
    "term": Column("str", "", "name of the parameter"),
    "estimate": Column(
        "float64",
        "natural log",
        "maximum-likelihood estimate; -Inf or Inf where the likelihood rises for ever",
        "all_zero; dispersion at the Poisson limit; infinite in no definite direction",
    ),
    "se": Column(
        "float64", "natural log", "standard error from the expected information", "as estimate; infinite estimates"
    ),
    "dependent": Column("bool", "", "follows from the other parameters through a constraint"),
}

GLM_GENES = {
    "gene": _GENE,
    "status": _STATUS,
    "mean": Column("float64", "counts", "mean over cells of count / size factor", "all_zero"),
    "dispersion": Column(
        "float64",
        "",
        "alpha of Var = mu + alpha mu^2, averaged over cells; 0 at the Poisson limit; the normal model's variance",
        "all_zero",
    ),
    "log_likelihood": Column("float64", "natural log", "log-likelihood with every constant", "all_zero"),
    "n_iter": Column("int32", "", "Newton steps"),
}

TEST_GLM = {
    "gene": _GENE,
    "contrast": Column("str", "", "what is tested"),
    "method": Column("str", "", "test that gave the p-value"),
    "mean": Column("float64", "counts", "mean over cells of count / size factor", "all_zero"),
    "estimate": Column(
        "float64",
        "natural log",
        "value of the contrast",
        "several rows tested at once; all_zero; poisson_limit in the dispersion model",
    ),
    "log2fc": Column("float64", "log2", "estimate / ln 2", "as estimate; the normal model"),
    "se": Column("float64", "natural log", "standard error of the estimate (Wald's)", "as estimate; separated"),
    "ci_low": Column("float64", "natural log", "lower end of the 95 % interval", "as se"),
    "ci_high": Column("float64", "natural log", "upper end of the 95 % interval", "as se"),
    "stat": Column("float64", "", "z or t for one row; chi-square or F for several, and for lrt", "no p-value"),
    "df": Column("float64", "", "rank of the contrast", "no p-value"),
    "df_resid": Column("float64", "", "cells minus free mean parameters; Inf for the normal reference", "no p-value"),
    "pval": Column(
        "float64",
        "",
        "p-value; of a separated contrast by likelihood ratio",
        "status all_zero or not_converged; separated where the counts are not at hand; poisson_limit in the dispersion "
        "model",
    ),
    "padj": Column("float64", "", "Benjamini-Hochberg over the rows with a p-value", "as pval"),
    "log_likelihood": Column("float64", "natural log", "log-likelihood of the fit, with every constant", "all_zero"),
    "status": Column("str", "", "as in the genes table, decided for this contrast"),
    "estimate_penalized": Column(
        "float64",
        "natural log",
        "Firth's penalised estimate of a separated contrast of the mean model",
        "not separated; several rows; the counts are not at hand",
    ),
}

FLAGGED = TEST_GLM | {
    "max_cooks": Column(
        "float64",
        "",
        "largest Cook's distance among cells that share their row of the design with two others",
        "no such cells; status all_zero or not_converged",
    ),
    "outlier": Column(
        "bool", "", "one count moves the gene's coefficients far; flag_outliers() then drops the p-value"
    ),
}

_NO_MODE = "status all_zero or not_converged"

SHRUNKEN = {
    "gene": _GENE,
    "contrast": Column("str", "", "what is shrunken"),
    "mean": Column("float64", "counts", "mean over cells of count / size factor", "all_zero"),
    "estimate": Column("float64", "natural log", "mode of the posterior; finite for separated genes too", _NO_MODE),
    "log2fc": Column("float64", "log2", "estimate / ln 2", _NO_MODE),
    "sd": Column("float64", "natural log", "standard deviation of the normal approximation at the mode", _NO_MODE),
    "log2fc_ml": Column("float64", "log2", "the estimate without a prior", "all_zero"),
    "prior_scale": Column(
        "float64", "natural log", "scale of the Cauchy prior or standard deviation of the normal one"
    ),
    "status": Column("str", "", "as in the genes table, decided for this contrast"),
}

CURVES = {
    "gene": _GENE,
    "min": Column(
        "float64", "counts", "lowest expected count along the covariate, at size factor 1", "no finite curve"
    ),
    "max": Column("float64", "counts", "highest expected count along the covariate", "no finite curve"),
    "argmin": Column("float64", "as the covariate", "where the curve is lowest", "no finite curve"),
    "argmax": Column("float64", "as the covariate", "where the curve is highest", "no finite curve"),
    "log2fc": Column("float64", "log2", "log2 of max / min", "no finite curve"),
    "status": _STATUS,
}

_BATCH = Column("str", "", 'label of the batch; "all" where there is one')
_TIME = Column("str", "", "label of the time point; dates as ISO 8601")
_SERIES = Column("str", "", "name of the series")
_FACTOR = Column("str", "", "name of the factor")
_LEFT_OUT = "series constant or empty in this batch"

FACTORS = {
    "batch": _BATCH,
    "time": _TIME,
    "factor": _FACTOR,
    "filtered": Column("float64", "innovation sd", "mean of the factor given the data up to this time"),
    "filtered_sd": Column("float64", "innovation sd", "its standard deviation, parameters taken as known"),
    "smoothed": Column("float64", "innovation sd", "mean of the factor given all data"),
    "smoothed_sd": Column("float64", "innovation sd", "its standard deviation, parameters taken as known"),
}

LOADINGS = {
    "batch": _BATCH,
    "series": _SERIES,
    "factor": _FACTOR,
    "loading": Column(
        "float64", "sd of the series per unit of the factor", "lambda of the standardised series", _LEFT_OUT
    ),
    "se": Column(
        "float64",
        "as loading",
        "standard error from the observed information under the stated normalisation; a rotation towards another batch "
        "is taken as given",
        _LEFT_OUT + "; not identified; engine statsmodels",
    ),
    "r2": Column("float64", "", "squared correlation of the series with the smoothed factor where observed", _LEFT_OUT),
    "idio_ar1": Column("float64", "", "phi of the series' own AR(1) term; 0 where iid", _LEFT_OUT),
    "idio_var": Column("float64", "variance of the series", "variance of that term's innovation", _LEFT_OUT),
}

STATS = {
    "batch": _BATCH,
    "n_time": Column("int32", "", "time points, after a first row that differencing emptied was dropped"),
    "n_series": Column("int32", "", "series that took part"),
    "n_missing": Column("int32", "", "missing values among them"),
    "n_factors": Column("int32", "", "factors; 0 where the batch failed"),
    "log_likelihood": Column("float64", "natural log", "of the standardised panel, with every constant", "failed"),
    "aic": Column("float64", "", "2 k - 2 log-likelihood, k = identified parameters", "failed"),
    "bic": Column("float64", "", "k log(n_time) - 2 log-likelihood", "failed"),
    "n_iter": Column("int32", "", "iterations"),
    "converged": Column("bool", "", "last gain below tol and scaled score below 1e-2"),
    "seconds": Column("float64", "s", "wall-clock time of the batch"),
    "status": Column("str", "", "first that applies: failed, not_converged, near_heywood, ok"),
    "message": Column("str", "", "why it failed, what was left out, which series are near-Heywood; empty if nothing"),
}

TRANSITION = {
    "batch": _BATCH,
    "block": Column("str", "", "name of the block of factors"),
    "lag": Column("int32", "", "1, 2, ..."),
    "to": Column("str", "", "the factor that is explained"),
    "from": Column("str", "", "the lagged factor"),
    "value": Column("float64", "", "coefficient of the vector autoregression"),
}

PATH = {
    "batch": _BATCH,
    "iteration": Column("int32", "", "1, 2, ..."),
    "log_likelihood": Column("float64", "natural log", "log-likelihood at the iteration"),
}

FORECAST = {
    "batch": _BATCH,
    "time": Column("str", "", 'label of the future time; "+1", ... where labels do not go on'),
    "name": Column("str", "", "series or factor"),
    "kind": Column("str", "", '"series" or "factor"'),
    "mean": Column("float64", "transformed series; factor: innovation sd", "forecast"),
    "sd": Column("float64", "as mean", "its standard deviation; uncertainty of parameters left out"),
    "lower": Column("float64", "as mean", "lower end of the interval"),
    "upper": Column("float64", "as mean", "upper end of the interval"),
}

DECOMPOSITION = {
    "batch": _BATCH,
    "series": _SERIES,
    "source": Column("str", "", '"global", "group" or "idiosyncratic"'),
    "share": Column(
        "float64", "", "share of the stationary variance; sums to 1 in a series", _LEFT_OUT + "; not stationary"
    ),
}

NEWS = {
    "time": Column("str", "", "time of the datum", "kind reestimation"),
    "series": Column("str", "", "series of the datum", "kind reestimation"),
    "kind": Column("str", "", '"revision", "news" or "reestimation"'),
    "impact": Column("float64", "transformed target series", "change of the target's expectation due to this datum"),
}

N_FACTORS = {
    "n_factors": Column("int32", "", "number of factors"),
    "criterion": Column("str", "", "IC1, IC2, IC3 (Bai & Ng 2002), ER, GR (Ahn & Horenstein 2013)"),
    "value": Column(
        "float64", "", "value of the criterion: smallest is best for IC, largest for ER and GR", "ER, GR at 0"
    ),
    "selected": Column("bool", "", "the best number by this criterion"),
}

DIAGNOSTICS = {
    "batch": _BATCH,
    "series": _SERIES,
    "n": Column("int32", "", "one-step errors: observed values"),
    "mean": Column("float64", "sd of the error", "mean of the standardised one-step errors; 0 if the model holds"),
    "sd": Column("float64", "sd of the error", "their standard deviation; 1 if the model holds"),
    "ljung_box": Column("float64", "", "Ljung-Box statistic of their autocorrelations"),
    "ljung_box_pval": Column("float64", "", "its p-value, chi-square with as many degrees of freedom as lags"),
    "jarque_bera": Column("float64", "", "Jarque-Bera statistic of their skewness and kurtosis"),
    "jarque_bera_pval": Column("float64", "", "its p-value, chi-square with 2 degrees of freedom"),
}

FORECAST_ERRORS = {
    "series": _SERIES,
    "h": Column("int32", "steps", "how far ahead"),
    "n": Column("int32", "", "forecasts that came true or not: vintages whose target the last one holds"),
    "rmse": Column("float64", "transformed series", "root mean squared error of the forecasts"),
    "rmse_ar1": Column("float64", "transformed series", "that of an AR(1) of the series itself"),
    "ratio": Column("float64", "", "rmse / rmse_ar1; below 1: better than the AR(1)"),
}

_CELL = Column("str", "", "cell name")

AMBIENT_CELLS = {
    "cell": _CELL,
    "batch": _BATCH,
    "rho": Column("float64", "", "share of the cell's counts that is ambient", "no_counts"),
    "rho_se": Column(
        "float64",
        "",
        "standard error: Fisher information x overdispersion, joined with that of the level",
        "no_counts; level_unidentified; `rho` given per cell",
    ),
    "observed_umi": Column("float64", "counts", "counts of the cell"),
    "ambient_umi": Column("float64", "counts", "expected ambient counts: observed - denoised_mean"),
    "denoised_umi": Column("float64", "counts", "counts of the cell in `denoised`"),
    "flag": Column("str", "", "first that applies: no_counts, level_unidentified, at_bound, ok"),
}

AMBIENT_GENES = {
    "gene": _GENE,
    "batch": _BATCH,
    "ambient_prob": Column("float64", "", "probability of the gene in the ambient profile; sums to 1 over genes"),
    "observed": Column("float64", "counts", "counts in the cells of the batch"),
    "removed": Column("float64", "counts", "of these, expected ambient: observed - denoised_mean"),
    "ambient_share": Column("float64", "", "removed / observed", "no counts observed"),
}

AMBIENT_PROFILE = {
    "gene": _GENE,
    "batch": _BATCH,
    "prob": Column("float64", "", "probability of the gene in an ambient count; sums to 1 over genes in each batch"),
    "count": Column(
        "float64",
        "counts",
        "counts in the droplets used; expected ones where a profile was given",
        "given without counts",
    ),
    "n_empty": Column("int32", "", "droplets used; 0 where the profile was given or is the average of the cells"),
}

AMBIENT_HISTORY = {
    "iteration": Column("int32", "", "EM step; 0 is the start"),
    "log_likelihood": Column("float64", "natural log", "multinomial log-likelihood without its constant"),
}

AMBIENT_EPOCHS = {
    "epoch": Column("int32", "", "pass over the training cells; 1, 2, ..."),
    "loss": Column("float64", "natural log", "reconstruction + weight x kl; the weight rises to 1 over 400 epochs"),
    "reconstruction": Column(
        "float64", "natural log", "mean over cells of -log p(x | z), without terms that no parameter enters"
    ),
    "kl": Column("float64", "natural log", "mean over cells of the divergence of q(z | x) from Normal(0, 1)"),
}

AMBIENT_LEVELS = {
    "cluster": Column("str", "", "cluster of cells, as labelled or numbered from the largest"),
    "batch": _BATCH,
    "level": Column("float64", "", "UMI-weighted mean of rho in these cells"),
    "level_se": Column("float64", "", "its standard error; 0 where `rho` was given", "under 20 anchor genes"),
    "n_anchors": Column("int32", "", "genes that the level came from; 0 where `rho` was given"),
}

MARKER_EXCLUSIVITY = {
    "set": Column("str", "", "name of the marker set"),
    "cluster": Column("str", "", "cluster that the set belongs to; several are joined by ', '"),
    "n_genes": Column("int32", "", "genes in the set"),
    "observed": Column("float64", "", "share of the set's counts that lies in other clusters", "no counts"),
    "denoised": Column("float64", "", "the same share of `denoised_mean`", "no counts"),
}

_GROUPS = {
    "gene": _GENE,
    "group1": Column("str", "", "first group of cells"),
    "group2": Column("str", "", 'second group; "rest": all other cells'),
}
_SCALES = {
    "scale1": Column("float64", "", "mean native frequency of the gene in the first group; sums to 1 over genes"),
    "scale2": Column("float64", "", "the same in the second group"),
}

SCAR_VANILLA = _GROUPS | {
    "proba_m1": Column("float64", "", "posterior probability that the first group's frequency is larger"),
    "proba_m2": Column("float64", "", "1 - proba_m1"),
    "bayes_factor": Column("float64", "natural log", "log(proba_m1 / proba_m2), kept finite by 1e-8"),
    **_SCALES,
}

SCAR_CHANGE = _GROUPS | {
    "proba_de": Column("float64", "", "posterior probability of a log2 fold change beyond delta, up or down"),
    "proba_not_de": Column("float64", "", "1 - proba_de"),
    "bayes_factor": Column("float64", "natural log", "log(proba_de / proba_not_de), kept finite by 1e-8"),
    **_SCALES,
    "lfc_mean": Column("float64", "log2", "posterior mean of the fold change, first over second group"),
    "lfc_median": Column("float64", "log2", "its median"),
    "lfc_std": Column("float64", "log2", "its standard deviation"),
    "is_de": Column("bool", "", "called, with an expected share of false ones of at most fdr_target"),
}

SENSITIVITY = {
    "cell": _CELL,
    "rho": Column("float64", "", "rho of the fit", "no_counts"),
    "rho_sd": Column("float64", "", "standard deviation of rho over the fits with drawn profiles", "no_counts"),
    "removed": Column("float64", "counts", "ambient_umi of the fit"),
    "removed_sd": Column("float64", "counts", "standard deviation of ambient_umi over these fits"),
}

INTERACTION_HISTORY = {
    "fold": Column("int32", "", "1, 2, ...: the model that holds this fold out"),
    "epoch": Column("int32", "", "1, 2, ..."),
    "train_loss": Column(
        "float64", "squares of the data", "half the squared error of a receiver, with dropout, without penalties"
    ),
    "validation_loss": Column(
        "float64",
        "squares of the data",
        "half the squared error of a receiver left aside to decide when to stop",
        "early_stopping=False",
    ),
}

CONTRIBUTIONS = {
    "cell": Column("str", "", "name of the receiver"),
    "sample": Column("str", "", "its sample"),
    "receiver": Column("str", "", "its type"),
    "x": Column("float64", "unit of the coordinates", "its place"),
    "y": Column("float64", "unit of the coordinates", "its place"),
    "z": Column("float64", "unit of the coordinates", "its place", "two dimensions"),
    "sender": Column("str", "", 'whose share: neighbours of this type, or "all"'),
    "gene": Column("str", "", "which gene", "the root of the mean square over genes"),
    "contribution": Column(
        "float64",
        "unit of the data",
        "the full prediction minus the one without these neighbours",
        "the cell's type has no training cells",
    ),
}

_RECEIVER = Column("str", "", "type of the cells whose expression is explained")
_SENDER = Column("str", "", "type of their neighbours")
_ALL_HEADS = Column("str", "", '"all": the heads together')
_TOO_FEW = 'null="none"; fewer than 20 blocks (6 units) with cells of the receiver'
_R2 = Column(
    "float64",
    "",
    "1 - squared error / squared error of the type's mean in the same training cells; below 0: worse than that mean",
    "no cells; constant expression",
)
_STATISTIC = Column(
    "float64",
    "null sd",
    "error reduction less its expectation without interaction, over its standard deviation under the null",
    "as pval, but there for unstable heads",
)
_PVAL = Column(
    "float64",
    "",
    "one-sided (1 + draws that reach the statistic) / (1 + draws)",
    'head "none"; heads of stability below 0.5; constant expression; ' + _TOO_FEW,
)
_PVAL_APPROX = Column(
    "float64", "", "tail of a distribution with the null's moments; to rank, not to decide", "as pval"
)
_PADJ = Column("float64", "", "Benjamini-Hochberg within the family of the row", "as pval")
_N_CELLS = Column("int32", "", "cells of the receiver type with a prediction")
_SET = Column("str", "", '"held-out", or "train" where the model trained on the cells (folds=1)')

EXPLAINED_VARIANCE = {
    "receiver": _RECEIVER,
    "head": Column("str", "", '"all"; "none" (no neighbours); "1", "2", ... one matched head alone, exploratory'),
    "r2": _R2,
    "statistic": _STATISTIC,
    "pval": _PVAL,
    "pval_approx": _PVAL_APPROX,
    "padj": _PADJ,
    "n_cells": _N_CELLS,
    "set": _SET,
}

EXPLAINED_VARIANCE_GENES = {
    "receiver": _RECEIVER,
    "head": EXPLAINED_VARIANCE["head"],
    "gene": _GENE,
    "r2": _R2,
    "statistic": _STATISTIC,
    "pval": _PVAL,
    "pval_approx": _PVAL_APPROX,
    "padj": _PADJ,
    "n_cells": _N_CELLS,
    "set": _SET,
}

_NO_CONTACT = "cells of this type are never neighbours of the receiver"

NEIGHBOR_EFFECTS = {
    "receiver": _RECEIVER,
    "sender": _SENDER,
    "head": _ALL_HEADS,
    "gene": Column("str", "", "gene name", "the row of the pair"),
    "effect": Column(
        "float64",
        "unit of the data",
        "mean over receivers of the prediction less the prediction without these senders; pair: root mean square "
        "over genes",
        _NO_CONTACT + "; no receivers",
    ),
    "delta_mse": Column(
        "float64",
        "squares of the data",
        "held-out squared error of a receiver without these senders, less with them; pair: sum over genes",
        _NO_CONTACT + "; no receivers",
    ),
    "n_receivers": Column("int32", "", "receivers that have such a neighbour and a prediction"),
    "statistic": _STATISTIC,
    "pval": _PVAL,
    "padj": _PADJ,
}

INTERACTION_MATRIX = {
    "receiver": _RECEIVER,
    "sender": _SENDER,
    "n_genes": Column("int32", "", "genes with padj below the level"),
    "n_up": Column("int32", "", "of these, genes with a positive effect"),
    "n_down": Column("int32", "", "of these, genes with a negative effect"),
    "padj": Column("float64", "", "of the pair as a whole", "as in neighbor_effects"),
}

HEADS = {
    "head": Column("str", "", "label of the matched head"),
    "fold": Column("int32", "", "1, 2, ..."),
    "fold_head": Column("int32", "", "which of the fold's own heads goes by this label: 1, 2, ..."),
    "stability": Column(
        "float64", "", "mean correlation of what the head adds with the head of this label in other folds", "one fold"
    ),
}

_CELL = Column("str", "", "name of the receiver cell")

ATTENTION = {
    "cell": _CELL,
    "neighbor": Column("str", "", "name of the neighbour cell"),
    "head": Column("str", "", "label of the matched head"),
    "weight": Column("float64", "", "attention; by flavor times the neighbour's value, its effect, or information"),
    "distance": Column("float64", "unit of the coordinates", "from receiver to neighbour"),
}

ATTENTION_BY_DISTANCE = {
    "receiver": _RECEIVER,
    "sender": _SENDER,
    "head": Column("str", "", "label of the matched head"),
    "distance": Column("float64", "unit of the coordinates", "middle of the bin"),
    "lower": Column("float64", "unit of the coordinates", "lower end of the bin"),
    "upper": Column("float64", "unit of the coordinates", "upper end of the bin"),
    "weight": Column("float64", "", "mean attention of a pair", "no pairs"),
    "n_pairs": Column("int32", "", "pairs of receiver and neighbour in the bin"),
}

COMMUNICATION_HUBS = {
    "cell": _CELL,
    "receiver": _RECEIVER,
    "head": Column("str", "", "label of the matched head, or all"),
    "sender": Column("str", "", "type that gets most of the cell's attention"),
    "attention": Column("float64", "", "attention to neighbours of any type, 0 to 1"),
    "hub": Column("str", "", "hub: the k-means cluster of what the cell attends to", "attention below the threshold"),
}

COUNTERFACTUAL_ATTENTION = {
    "receiver": _RECEIVER,
    "sender": _SENDER,
    "head": Column("str", "", "label of the matched head"),
    "distance": Column("float64", "unit of the coordinates", "at which the neighbour is put"),
    "weight": Column("float64", "", "median over pairs of the attention to the neighbour if it were the only one"),
    "lower": Column("float64", "", "lower quartile"),
    "upper": Column("float64", "", "upper quartile"),
    "n_pairs": Column("int32", "", "pairs of receiver and neighbour"),
}

LENGTH_SCALES = {
    "receiver": _RECEIVER,
    "sender": _SENDER,
    "head": Column("str", "", "label of the matched head"),
    "median": Column(
        "float64",
        "unit of the coordinates",
        "median over pairs of the distance at which attention to a lone neighbour falls to the threshold",
        "half or more of the pairs are below the threshold at distance 0; " + _NO_CONTACT,
    ),
    "lower": Column("float64", "unit of the coordinates", "2.5 % point over block-bootstrap samples", "as median"),
    "upper": Column("float64", "unit of the coordinates", "97.5 % point", "as median"),
    "n": Column("int32", "", "pairs of receiver and neighbour that reach the threshold at distance 0"),
}

COMPARE_INTERACTIONS = {
    "receiver": _RECEIVER,
    "sender": _SENDER,
    "group": Column("str", "", "condition"),
    "reference": Column("str", "", "condition it is compared with"),
    "mean": Column("float64", "as measure", "mean over the group's units", "no unit with such cells"),
    "reference_mean": Column("float64", "as measure", "mean over the reference's units", "as mean"),
    "difference": Column("float64", "as measure", "mean - reference_mean", "as mean"),
    "statistic": Column("float64", "", "Welch's t over units", "as pval"),
    "pval": Column(
        "float64", "", "two-sided, units relabelled", "fewer than 3 units in a group; no variation between units"
    ),
    "padj": Column("float64", "", "Benjamini-Hochberg over all rows", "as pval"),
    "n_units": Column("int32", "", "units of the group"),
    "n_reference": Column("int32", "", "units of the reference"),
}

RECOVERY = {
    "receiver": _RECEIVER,
    "sender": _SENDER,
    "planted": Column("bool", "", "an interaction was planted"),
    "pval": _PVAL,
    "padj": _PADJ,
    "n_planted": Column("int32", "", "planted genes"),
    "n_found": Column("int32", "", "planted genes with padj below the level"),
    "n_false": Column("int32", "", "other genes with padj below the level"),
    "fdp": Column("float64", "", "n_false / (n_found + n_false), 0 where nothing was found"),
    "auc": Column("float64", "", "chance that a planted gene's effect exceeds another's", "nothing planted"),
}

TABLES = {
    "coefficients": GLM_COEFFICIENTS,
    "genes": GLM_GENES,
    "test_glm": TEST_GLM,
    "factors": FACTORS,
    "loadings": LOADINGS,
    "stats": STATS,
    "transition": TRANSITION,
    "path": PATH,
    "forecast": FORECAST,
    "decomposition": DECOMPOSITION,
    "news": NEWS,
    "n_factors": N_FACTORS,
    "diagnostics": DIAGNOSTICS,
    "forecast_errors": FORECAST_ERRORS,
    "ambient_cells": AMBIENT_CELLS,
    "ambient_genes": AMBIENT_GENES,
    "ambient_profile": AMBIENT_PROFILE,
    "ambient_history": AMBIENT_HISTORY,
    "ambient_epochs": AMBIENT_EPOCHS,
    "ambient_levels": AMBIENT_LEVELS,
    "marker_exclusivity": MARKER_EXCLUSIVITY,
    "scar_vanilla": SCAR_VANILLA,
    "scar_change": SCAR_CHANGE,
    "sensitivity": SENSITIVITY,
    "interaction_history": INTERACTION_HISTORY,
    "explained_variance": EXPLAINED_VARIANCE,
    "explained_variance_genes": EXPLAINED_VARIANCE_GENES,
    "neighbor_effects": NEIGHBOR_EFFECTS,
    "interaction_matrix": INTERACTION_MATRIX,
    "heads": HEADS,
    "attention": ATTENTION,
    "attention_by_distance": ATTENTION_BY_DISTANCE,
    "communication_hubs": COMMUNICATION_HUBS,
    "counterfactual_attention": COUNTERFACTUAL_ATTENTION,
    "length_scales": LENGTH_SCALES,
    "compare_interactions": COMPARE_INTERACTIONS,
    "recovery": RECOVERY,
    "contributions": CONTRIBUTIONS,
}


def frame(columns: Mapping[str, Column], values: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """A table with just these columns, in this order and of these types."""
    assert list(values) == list(columns), f"columns {list(values)} do not follow the schema {list(columns)}"
    typed = {
        name: np.asarray(values[name], dtype=object if column.dtype == "str" else column.dtype)
        for name, column in columns.items()
    }
    return pd.DataFrame(typed, copy=False)
