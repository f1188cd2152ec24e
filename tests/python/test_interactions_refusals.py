"""What the functions of a fit say to what is no fit, no table and no number."""

import pandas as pd
import pytest
from interaction_cases import QUICK, tissue

from isthmus import interaction
from isthmus.errors import InputError
from isthmus.testing import recovery


@pytest.fixture(scope="module")
def fit():
    return interaction.fit_interactions(tissue(200, 4), **QUICK | {"max_epochs": 1})


FUNCTIONS = [
    interaction.explained_variance,
    interaction.neighbor_effects,
    interaction.interaction_matrix,
    interaction.attention,
    interaction.attention_by_distance,
    interaction.contributions,
    interaction.length_scales,
    interaction.communication_hubs,
    interaction.head_table,
    lambda fit: interaction.counterfactual_attention(fit, [1.0]),
    lambda fit: interaction.compare_interactions(fit, group="x"),
    lambda fit: interaction.transfer(fit, None, labels="kind"),
    lambda fit: recovery(fit, pd.DataFrame()),
]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("other", [None, 3, "fit"])
def test_what_is_no_fit_is_refused_by_name(function, other):
    with pytest.raises(InputError, match=rf"`fit` must be what fit_interactions returned; got {type(other).__name__}"):
        function(other)


def test_tables_and_numbers_that_are_none_are_refused(fit):
    with pytest.raises(
        InputError, match=r"`fit` must be a fit or what neighbor_effects\(\) gave; the table lacks 'gene'"
    ):
        interaction.interaction_matrix(interaction.neighbor_effects(fit, null="none").drop(columns="gene"))
    with pytest.raises(InputError, match="`threshold` must lie between 0 and 1; got 'a'"):
        interaction.length_scales(fit, threshold="a")
    with pytest.raises(InputError, match="`fdr` must lie between 0 and 1; got 'a'"):
        interaction.interaction_matrix(fit, fdr="a")
    with pytest.raises(InputError, match="`distances` must be one or more finite distances, 0 or more; got 'x'"):
        interaction.counterfactual_attention(fit, "x")
    truth = pd.DataFrame({"receiver": ["Z"], "sender": ["a"], "gene": ["g0"]})
    with pytest.raises(InputError, match=r"`truth` must name cell types of the fit \('a', 'b', 'c'\); got \['Z'\]"):
        recovery(fit, truth)
