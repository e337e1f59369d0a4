"""What can be asked of a fitted model or a finished run: counterfactual cells, interpretation, the
paper's figures."""
