"""Fast paths of Llama models: their weights laid out anew, and what reads whole sequences and samples with them."""
