"""Jobs: where data meets a model, with the loss, the measure and the rule of thumb to beat."""
