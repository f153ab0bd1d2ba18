"""Language models: text to tokens, pretraining, sampling."""
